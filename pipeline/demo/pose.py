"""Where everything is in one frame, and the points of a body that a motion refers to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.demo.canvas import Point, mix
from pipeline.demo.people import Person

Kind = Literal["bottle", "cap", "glasses", "food", "phone", "magazine", "laptop", "backpack"]


@dataclass(frozen=True, slots=True)
class Prop:
    """An object in the scene.

    Attributes
    ----------
    kind : str
    at : tuple of float
        Its middle, in pixels.
    degrees : float
        Rotation, clockwise on the screen.
    state : float
        From 0 to 1: how far a lid is open, a page is turned or a bite is taken.
    """

    kind: Kind
    at: Point
    degrees: float = 0.0
    state: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """One frame's scene; `near` and `far` are the hands on the camera's and the door's side.

    Attributes
    ----------
    near, far : tuple of float
        The hands, in pixels.
    head : tuple of float
        Shift of the head, in pixels.
    tilt : float
        Rotation of the head in degrees; positive looks down.
    lean : float
        Shift of the shoulders towards the wheel, in pixels.
    belt : tuple of float or None
        Where the belt's tongue is; None where the belt hangs beside the seat.
    sunglasses : bool
        Whether they are on the nose.
    props : tuple of Prop
    seated : bool
        False shows the empty seat and someone outside.
    """

    near: Point
    far: Point
    head: Point = (0.0, 0.0)
    tilt: float = 0.0
    lean: float = 0.0
    belt: Point | None = None
    sunglasses: bool = False
    props: tuple[Prop, ...] = ()
    seated: bool = True


@dataclass(frozen=True, slots=True)
class Body:
    """Points of a seated person at rest, in pixels."""

    hip: Point
    near_shoulder: Point
    far_shoulder: Point
    neck: Point
    head: Point
    eyes: Point
    mouth: Point
    ear: Point
    lap: Point
    chest: Point
    buckle: Point


def body_of(person: Person) -> Body:
    """Work out where a seated person's joints are.

    Parameters
    ----------
    person : Person

    Returns
    -------
    Body
    """
    dx, dy = person.seat
    hip = (45 + dx, 101 + dy)
    top = hip[1] - 46 * person.height
    middle = 52 + dx
    half = 12.5 * person.build
    head = (59 + dx, top - 22 * (0.6 + 0.4 * person.head))
    size = person.head
    return Body(
        hip=hip,
        near_shoulder=(middle - half, top + 2),
        far_shoulder=(middle + half * 0.95, top),
        neck=(54 + dx, top - 3),
        head=head,
        eyes=(head[0] + 6.5 * size, head[1] - 1.5 * size),
        mouth=(head[0] + 8 * size, head[1] + 7.5 * size),
        ear=(head[0] - 4.5 * size, head[1] + 1 * size),
        lap=(76 + dx, 92 + dy / 2),
        chest=(70 + dx, 70 + dy / 2),
        buckle=(39 + dx, 97 + dy / 2),
    )


def between(before: Pose, after: Pose, amount: float, away: Pose) -> Pose:
    """Pose in an unannotated gap: things are put away below the picture, others taken up.

    Parameters
    ----------
    before, after : Pose
        The last pose before the gap and the first one after it.
    amount : float
        From 0 (`before`) to 1 (`after`).
    away : Pose
        The pose at half time, hands low.
    """
    start, goal, part = (
        (before, away, amount * 2) if amount < 0.5 else (away, after, amount * 2 - 1)
    )
    part = part * part * (3 - 2 * part)
    held = before if amount < 0.5 else after
    near = mix(start.near, goal.near, part)
    sunk = 60 * (part if amount < 0.5 else 1 - part)
    return replace(
        held,
        near=near,
        far=mix(start.far, goal.far, part),
        head=mix(start.head, goal.head, part),
        tilt=start.tilt + (goal.tilt - start.tilt) * part,
        lean=start.lean + (goal.lean - start.lean) * part,
        props=tuple(replace(p, at=(p.at[0], p.at[1] + sunk)) for p in held.props),
    )
