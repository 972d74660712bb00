"""Draws the person of one frame over the empty cabin."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image

from pipeline.demo.canvas import Canvas, GreyImage, Point, mix, turned
from pipeline.demo.people import Person
from pipeline.demo.pose import Body, Pose, body_of
from pipeline.demo.props import draw_glasses, draw_prop

UPPER_ARM = 29.0
FOREARM = 28.0
BEHIND_HANDS = ("laptop", "backpack")


def render(cabin: Image.Image, person: Person, pose: Pose) -> GreyImage:
    """Draw one frame before the camera adds its light, noise and encoding.

    Parameters
    ----------
    cabin : PIL.Image.Image
        What `draw_cabin` gave; not changed.
    person : Person
    pose : Pose

    Returns
    -------
    ndarray
        ``(HEIGHT, WIDTH)`` uint8, a function of the arguments alone.
    """
    canvas = Canvas(cabin.copy())
    if not pose.seated:
        _bystander(canvas, person)
        return canvas.finished()
    body = _moved(body_of(person), pose)
    _legs(canvas, person, body)
    _torso(canvas, person, body)
    if pose.belt is None:
        canvas.strip(body.far_shoulder, (body.far_shoulder[0] + 4, 46), 3.0, 3.0, 150)
    _head(canvas, person, body, pose)
    if pose.belt is not None:
        _belt(canvas, body, pose.belt)
    for prop in pose.props:
        if prop.kind in BEHIND_HANDS:
            draw_prop(canvas, prop)
    _arm(canvas, person, body.far_shoulder, pose.far, 0.9)
    _hand(canvas, person, body.far_shoulder, pose.far, 0.92)
    for prop in pose.props:
        if prop.kind not in BEHIND_HANDS:
            draw_prop(canvas, prop)
    _arm(canvas, person, body.near_shoulder, pose.near, 1.06)
    _hand(canvas, person, body.near_shoulder, pose.near, 1.05)
    return canvas.finished()


def _moved(body: Body, pose: Pose) -> Body:
    lean = pose.lean

    def shift(at: Point, dx: float, dy: float = 0.0) -> Point:
        return at[0] + dx, at[1] + dy

    return Body(
        hip=body.hip,
        near_shoulder=shift(body.near_shoulder, lean),
        far_shoulder=shift(body.far_shoulder, lean),
        neck=shift(body.neck, lean + 0.2 * pose.head[0]),
        head=shift(body.head, lean + pose.head[0], pose.head[1]),
        eyes=body.eyes,
        mouth=body.mouth,
        ear=body.ear,
        lap=body.lap,
        chest=shift(body.chest, lean),
        buckle=body.buckle,
    )


def _bystander(canvas: Canvas, person: Person) -> None:
    at = (84.0 + person.seat[0], 30.0)
    wide = 15 * person.build
    shape = [(-wide, 14), (-wide * 0.8, 2), (-5, -2), (5, -2), (wide * 0.8, 2), (wide, 12)]
    canvas.polygon(turned(shape, (at[0], at[1] + 3), 0), person.cloth_shade * 0.55)
    canvas.ball((at[0], at[1] - 8), 8 * person.head, 10 * person.head, person.skin * 0.6)
    canvas.oval((at[0], at[1] - 13), 8 * person.head, 6 * person.head, person.hair_shade * 0.6)


def _legs(canvas: Canvas, person: Person, body: Body) -> None:
    x, y = body.hip
    thick = 18 * person.build
    canvas.limb((x + 14, y - 3), (x + 50, y - 5), thick * 0.9, thick * 0.7, person.trousers * 0.85)
    canvas.limb((x, y + 4), (x + 46, y + 3), thick * 1.1, thick * 0.85, person.trousers)


def _torso(canvas: Canvas, person: Person, body: Body) -> None:
    near, far, neck, hip = body.near_shoulder, body.far_shoulder, body.neck, body.hip
    belly = hip[0] + 23 * person.build
    shape = [
        (near[0] - 5, near[1] + 5),
        (near[0], near[1] - 3),
        (neck[0] - 6, neck[1] - 1),
        (neck[0] + 5, neck[1] - 1),
        (far[0] + 1, far[1] - 2),
        (far[0] + 5, far[1] + 6),
        (mix(far, (belly, hip[1]), 0.5)[0] + 3, far[1] + 26),
        (belly + 2, hip[1] - 8),
        (belly, hip[1] + 12),
        (hip[0] - 14 * person.build, hip[1] + 12),
        (near[0] - 4, near[1] + 26),
    ]
    centre = (sum(x for x, _ in shape) / len(shape), sum(y for _, y in shape) / len(shape))
    shade = person.cloth_shade
    for size, light in ((1.0, 0.66), (0.9, 0.82), (0.74, 0.94), (0.5, 1.0)):
        inner = [mix(centre, p, size) for p in shape]
        canvas.polygon(inner, shade * light)
    if person.cloth == "stripes":
        for k in range(5):
            y = near[1] + 7 + 9 * k
            canvas.strip((near[0] - 3, y), (far[0] + 3, y + 1), 3, 3, shade * 0.78)
    if person.cloth == "open jacket":
        shirt = [
            (neck[0] - 2, neck[1]),
            (neck[0] + 6, neck[1]),
            (belly - 4, 106),
            (belly - 16, 106),
        ]
        canvas.polygon(shirt, shade * 0.75 + 55)
    canvas.limb((neck[0] + 1, neck[1] + 1), (neck[0] + 3, neck[1] - 6), 9.5, 9, person.skin * 0.78)


def _head(canvas: Canvas, person: Person, body: Body, pose: Pose) -> None:
    size = person.head
    at = body.head

    def place(x: float, y: float) -> Point:
        return turned([(x * size, y * size)], at, pose.tilt)[0]

    tilt = pose.tilt
    if person.hair in ("long", "bun"):
        length = 9 if person.hair == "long" else 2
        canvas.oval(
            place(-5, length - 1), 7 * size, (9 + length) * size, person.hair_shade * 0.8, tilt
        )
    if person.hair == "bun":
        canvas.ball(place(-11, -7), 5 * size, 5 * size, person.hair_shade)
    if person.hair != "bald":
        canvas.ball(place(-1.2, -2.2), 11 * size, 12.6 * size, person.hair_shade, tilt)
    else:
        canvas.ball(place(-1, -1.5), 10.4 * size, 12.4 * size, person.skin, tilt)
    canvas.oval(place(10.2, 2.2), 2.2 * size, 2.6 * size, person.skin * 0.95, tilt)  # nose
    canvas.ball(place(2.4, 1.4), 8.6 * size, 11.2 * size, person.skin, tilt)
    if person.beard:
        canvas.oval(place(4.2, 8.6), 6.4 * size, 4.4 * size, person.hair_shade * 1.1, tilt)
    canvas.ball(place(-4.8, 1.2), 2.2 * size, 3.2 * size, person.skin * 0.85, tilt)  # ear
    for x in (3.6, 8.6):
        canvas.oval(place(x, -1.6), 1.35 * size, 0.95 * size, 28, tilt)
        canvas.box(place(x, -4.4), 1.8 * size, 0.45 * size, person.skin * 0.5, tilt - 8)
    canvas.box(place(6.4, 7.2), 2.6 * size, 0.65 * size, person.skin * 0.42, tilt)
    if person.hair == "cap":
        _cap(canvas, person, place, tilt)
    if pose.sunglasses:
        draw_glasses(canvas, place(5.4, -1.2), tilt, size)
        canvas.strip(place(1, -1.6), place(-5, -0.6), 1.2, 1.2, 14)


def _cap(
    canvas: Canvas, person: Person, place: Callable[[float, float], Point], tilt: float
) -> None:
    size = person.head
    canvas.oval(place(-0.5, -7.5), 10.6 * size, 6.8 * size, person.hair_shade + 40, tilt)
    canvas.oval(place(-1.5, -8.5), 7 * size, 4.4 * size, person.hair_shade + 58, tilt)
    canvas.oval(place(10, -5.2), 6.5 * size, 1.6 * size, person.hair_shade + 20, tilt + 8)


def _belt(canvas: Canvas, body: Body, tongue: Point) -> None:
    start = (body.far_shoulder[0] - 5, body.far_shoulder[1] - 3)
    canvas.strip(start, tongue, 8.2, 8.2, 22)
    canvas.strip(start, tongue, 5.6, 5.6, 190)
    canvas.box(tongue, 2.2, 2.8, 225, 45)


def _elbow(shoulder: Point, hand: Point) -> Point:
    dx, dy = hand[0] - shoulder[0], hand[1] - shoulder[1]
    reach = math.hypot(dx, dy) or 1.0
    # A hand out of reach stretches the arm: nobody sees it, and the hand stays on its object.
    stretch = max(1.0, reach / (UPPER_ARM + FOREARM - 1.0))
    upper, fore = UPPER_ARM * stretch, FOREARM * stretch
    along = (reach**2 + upper**2 - fore**2) / (2 * reach)
    along = max(-upper, min(upper, along))
    # Foreshortened, since the elbow points towards the camera as much as downwards.
    out = 0.75 * math.sqrt(max(0.0, upper**2 - along**2))
    ux, uy = dx / reach, dy / reach
    return shoulder[0] + ux * along - uy * out, shoulder[1] + uy * along + ux * out


def _arm(canvas: Canvas, person: Person, shoulder: Point, hand: Point, light: float) -> None:
    elbow = _elbow(shoulder, hand)
    shade = person.cloth_shade * light
    thick = 11.5 * person.build
    canvas.strip(shoulder, elbow, thick + 2, thick * 0.86 + 2, shade * 0.5)  # its shadow
    canvas.limb(shoulder, elbow, thick, thick * 0.86, shade)
    wrist = mix(elbow, hand, 0.88)
    if person.long_sleeves:
        canvas.limb(elbow, wrist, thick * 0.84, thick * 0.62, shade)
    else:
        canvas.limb(elbow, wrist, thick * 0.74, thick * 0.5, person.skin * 0.9 * light)


def _hand(canvas: Canvas, person: Person, shoulder: Point, hand: Point, light: float) -> None:
    elbow = _elbow(shoulder, hand)
    angle = math.degrees(math.atan2(hand[1] - elbow[1], hand[0] - elbow[0]))
    canvas.oval(hand, 5.4, 4.4, person.skin * 0.55, angle)
    canvas.ball(hand, 4.9, 3.9, person.skin * light, angle)
    for k in (-1, 1):
        a, b = turned([(1.5, 1.4 * k), (4.6, 1.2 * k)], hand, angle)
        canvas.strip(a, b, 0.7, 0.7, person.skin * 0.6)
