"""Act each activity: from a take and a person to one pose per frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipeline.demo.canvas import Point, mix
from pipeline.demo.people import Person
from pipeline.demo.pose import Body, Pose, Prop, body_of
from pipeline.demo.props import lid_edge

FPS = 30

#: An activity, and the one whose frames are the same in the opposite order.
REVERSED = {
    "closing_bottle": "opening_bottle",
    "taking_off_sunglasses": "putting_on_sunglasses",
    "unfastening_seat_belt": "fastening_seat_belt",
    "closing_laptop": "opening_laptop",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One annotated stretch to be acted.

    Attributes
    ----------
    activity : str
        Official name of the activity.
    frames : int
        Its length.
    seed : int
        Seed of what varies from one take to the next: tempo, places, sway.
    belt, sunglasses : bool
        What is worn, unless the activity changes it.
    """

    activity: str
    frames: int
    seed: int
    belt: bool = True
    sunglasses: bool = False


@dataclass(frozen=True, slots=True)
class _Manner:
    """How one take varies: its tempo, phase, sizes and places."""

    tempo: float
    phase: float
    size: float
    start: float
    stop: float
    shift: Point
    style: float

    def progress(self, u: float) -> float:
        """Return how far a movement is: still at first and at last."""
        part = min(1.0, max(0.0, (u - self.start) / (self.stop - self.start)))
        return part * part * (3 - 2 * part)

    def wave(self, t: float, rate: float) -> float:
        return math.sin(2 * math.pi * (rate * self.tempo * t + self.phase))


_Act = Callable[[Pose, Body, _Manner, float, float], Pose]


def poses_of(take: Take, person: Person) -> list[Pose]:
    """Act a take: one pose a frame.

    The takes of an activity and of its reverse with otherwise equal fields give the same poses
    in opposite orders.

    Parameters
    ----------
    take : Take
    person : Person

    Returns
    -------
    list of Pose
        As many as the take has frames.
    """
    forward = REVERSED.get(take.activity)
    if forward is not None:
        return poses_of(replace(take, activity=forward), person)[::-1]
    act, body = _ACTS[take.activity], body_of(person)
    manner = _manner(np.random.default_rng(take.seed))
    last = max(1, take.frames - 1)
    poses = []
    for k in range(take.frames):
        t = k / FPS
        sway = (1.1 * manner.wave(t, 0.31), 0.6 * manner.wave(t + 0.4, 0.47))
        idle = Pose(
            near=_wheel(manner, 3.0, t),
            far=_wheel(manner, -12.0, t),
            head=sway,
            tilt=2.0 * manner.wave(t, 0.22),
            lean=0.7 * manner.wave(t, 0.18),
            belt=body.buckle if take.belt else None,
            sunglasses=take.sunglasses,
        )
        poses.append(act(idle, body, manner, k / last, t))
    return poses


def away(person: Person) -> Pose:
    """Pose half way through an unannotated gap: both hands below the picture."""
    body = body_of(person)
    return Pose(near=(body.lap[0], 112), far=(body.lap[0] + 6, 110), head=(1, 2), tilt=16)


def _manner(rng: np.random.Generator) -> _Manner:
    return _Manner(
        tempo=float(rng.uniform(0.8, 1.25)),
        phase=float(rng.uniform(0, 1)),
        size=float(rng.uniform(0.8, 1.2)),
        start=float(rng.uniform(0.04, 0.22)),
        stop=float(rng.uniform(0.74, 0.96)),
        shift=(float(rng.uniform(-3, 3)), float(rng.uniform(-3, 3))),
        style=float(rng.uniform(0, 1)),
    )


def _moved(at: Point, manner: _Manner, dx: float = 0.0, dy: float = 0.0) -> Point:
    return at[0] + manner.shift[0] + dx, at[1] + manner.shift[1] + dy


def _wheel(manner: _Manner, down: float, t: float) -> Point:
    turn = 1.6 * manner.size * manner.wave(t, 0.25)
    return 96.5 + 0.3 * turn, 64 + down + manner.shift[1] + turn


def _along(stops: tuple[tuple[float, Point], ...], u: float) -> Point:
    """Follow a path through places at given times, easing at each."""
    for (ta, a), (tb, b) in pairwise(stops):
        if u <= tb:
            part = (u - ta) / (tb - ta)
            return mix(a, b, part * part * (3 - 2 * part))
    return stops[-1][1]


def _sitting_still(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    look = 5.0 * manner.size * manner.wave(t, 0.12)
    pose = replace(idle, head=(idle.head[0] + look * 0.5, idle.head[1]), tilt=idle.tilt + look)
    if manner.style < 0.35:
        pose = replace(pose, near=_moved(body.lap, manner, -2, 2))
    elif manner.style < 0.6:
        pose = replace(
            pose, near=_moved(body.lap, manner, -6, 2), far=_moved(body.lap, manner, 4, 0)
        )
    elif manner.style < 0.65:  # a hand at the chin
        pose = replace(pose, near=(body.mouth[0] - 1, body.mouth[1] + 7), tilt=idle.tilt - 3)
    return pose


def _eating(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    low = _moved(body.chest, manner, 4, 4)
    high = (body.mouth[0] + 4, body.mouth[1] + 2)
    lift = min(1.0, max(0.0, 0.5 + 0.9 * manner.wave(t, 0.55)))
    near = mix(low, high, lift)
    food = Prop("food", (near[0] + 4, near[1] - 5), -20 + 15 * lift)
    far = (near[0] + 9, near[1] + 1)
    return replace(idle, near=near, far=far, tilt=idle.tilt + 7 - 3 * lift, props=(food,))


def _drinking(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    up = min(1.0, max(0.0, 0.75 + 0.8 * manner.wave(t, 0.33)))
    low = _moved(body.chest, manner, 4, -4)
    near = mix(low, (body.mouth[0] + 14, body.mouth[1] + 2), up)
    bottle = Prop("bottle", (near[0] - 0.5, near[1] - 2), -8 - 62 * up)
    return replace(idle, near=near, tilt=idle.tilt - 13 * up, props=(bottle,))


def _talking_on_phone(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    near = (body.ear[0] + 1 + idle.head[0], body.ear[1] + 6 + idle.head[1])
    phone = Prop("phone", (near[0] + 1.0, near[1] - 4), -14 + 4 * manner.wave(t, 0.4))
    nod = 5 * manner.size * manner.wave(t, 0.7)
    far = idle.far if manner.style < 0.7 else _moved(body.lap, manner, 4, 0)
    return replace(idle, near=near, far=far, tilt=idle.tilt - 4 + nod, props=(phone,))


def _reading(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    at = _moved((body.chest[0] + 12, body.chest[1] + 2), manner, 0, 1.2 * manner.wave(t, 0.3))
    page = (t * 0.45 * manner.tempo + manner.phase) % 1.0
    turn = max(0.0, (page - 0.72) / 0.28)
    hand = (at[0] - 15, at[1] + 9)
    if turn:
        hand = (at[0] + 15 * (1 - 2 * turn), at[1] - 4)
    book = Prop("magazine", at, -6 + 5 * (manner.style - 0.5), turn)
    far = (at[0] + 17, at[1] + 6)
    return replace(idle, near=hand, far=far, tilt=idle.tilt + 15, props=(book,))


def _display(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    tap = manner.wave(t, 0.9)
    slide = 3.5 * manner.size * manner.wave(t, 0.37)
    near = (112 + manner.shift[0] - 1.5 * tap + 0.4 * slide, 84 + manner.shift[1] + slide)
    return replace(idle, near=near, lean=idle.lean + 5, tilt=idle.tilt + 9, head=(3, 1.5))


def _open_bottle(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    at = _moved((body.chest[0] + 10, body.chest[1] + 4), manner)
    top = (at[0], at[1] - 14.5)
    off = manner.progress(u)
    lift = max(0.0, (off - 0.35) / 0.65)
    twist = 1.3 * manner.wave(t, 1.6) if off < 0.35 else 0.0
    corner = (top[0] + 2, top[1] - 11 * manner.size)
    aside = _moved((body.lap[0] - 12, body.lap[1] - 6), manner)
    cap = _along(((0, top), (0.35, corner), (1, aside)), lift)
    props = (Prop("bottle", at, 4), Prop("cap", cap, 60 * lift))
    near = (cap[0] - 2.2 + twist, cap[1] + 3.4)
    return replace(idle, near=near, far=(at[0] + 3, at[1] + 7), tilt=idle.tilt + 11, props=props)


def _put_on_sunglasses(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    part = manner.progress(u)
    low = _moved(body.chest, manner, 8, 6)
    face = (body.eyes[0] + 3, body.eyes[1] + 2)
    down = _moved(body.lap, manner, -3, 1)
    near = _along(((0, low), (0.52, face), (0.62, face), (1, down)), part)
    worn = part > 0.57
    held = Prop("glasses", (near[0] + 3, near[1] - 3.5), 10 - 10 * part)
    return replace(
        idle,
        near=near,
        sunglasses=worn,
        tilt=idle.tilt + 5 * (1 - part),
        props=() if worn else (held,),
    )


def _fasten_belt(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    part = manner.progress(u)
    shoulder = (body.far_shoulder[0] - 2, body.far_shoulder[1] + 1)
    rest = _moved(body.lap, manner, -2, 2)
    buckle = body.buckle
    near = _along(((0, rest), (0.3, shoulder), (0.85, buckle), (1, buckle)), part)
    tongue = near if 0.3 <= part < 0.85 else buckle
    look = 16 * min(1.0, part / 0.5)
    reach = 6 * math.sin(math.pi * min(1.0, part / 0.85))
    return replace(
        idle,
        near=near,
        belt=tongue if part >= 0.3 else None,
        tilt=idle.tilt + look,
        lean=idle.lean - reach,
    )


def _open_laptop(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    part = manner.progress(u)
    at = _moved((body.lap[0] + 4, body.lap[1] - 6), manner)
    lid = Prop("laptop", at, 0, min(1.0, part / 0.85))
    far = (at[0] + 14, at[1] + 4)
    near = lid_edge(lid)
    return replace(idle, near=near, far=far, tilt=idle.tilt + 12, props=(lid,))


def _standing_outside(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    return replace(idle, seated=False)


def _close_backpack(idle: Pose, body: Body, manner: _Manner, u: float, t: float) -> Pose:
    at = _moved((body.lap[0] + 2, body.lap[1] - 6), manner)
    part = manner.progress(u)
    pull = (at[0] - 17 + 34 * part, at[1] - 7)
    bag = Prop("backpack", at, 0, part)
    return replace(idle, near=pull, far=(at[0] + 19, at[1] - 4), tilt=14, props=(bag,))


_ACTS: dict[str, _Act] = {
    "sitting_still": _sitting_still,
    "eating": _eating,
    "drinking": _drinking,
    "talking_on_phone": _talking_on_phone,
    "reading_magazine": _reading,
    "using_multimedia_display": _display,
    "opening_bottle": _open_bottle,
    "putting_on_sunglasses": _put_on_sunglasses,
    "fastening_seat_belt": _fasten_belt,
    "opening_laptop": _open_laptop,
    "standing_by_the_door": _standing_outside,
    "closing_backpack": _close_backpack,
}

#: Every activity that can be acted.
ACTIVITIES = tuple(sorted({*_ACTS, *REVERSED}))
