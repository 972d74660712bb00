"""What stands still while a participant drives: windows, pillars, seat, wheel, dashboard."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from PIL import Image, ImageFilter

from pipeline.demo.canvas import HEIGHT, SCALE, WIDTH, Canvas, Point
from pipeline.demo.people import Camera, Person

WHEEL: Point = (101.0, 66.0)
DISPLAY: Point = (116.0, 86.0)


def draw_cabin(person: Person, camera: Camera) -> Image.Image:
    """Draw the empty cabin of one participant at the supersampled size.

    Parameters
    ----------
    person : Person
        Says where the seat stands.
    camera : Camera
        Says how bright the day and the lining are.

    Returns
    -------
    PIL.Image.Image
        Mode ``L``, to be copied and drawn on for each frame.
    """
    rng = np.random.default_rng(camera.seed)
    image = Image.new("L", (WIDTH * SCALE, HEIGHT * SCALE), round(camera.trim))
    canvas = Canvas(image)
    _outside(canvas, camera, rng)
    # Outdoors is far out of focus; the frame around it is not.
    canvas = Canvas(image.filter(ImageFilter.GaussianBlur(2.2 * SCALE)))
    _body(canvas, camera)
    _dashboard(canvas, camera)
    _seat(canvas, person, camera)
    soft = canvas.image.filter(ImageFilter.GaussianBlur(0.45 * SCALE))
    grain = rng.normal(0.0, 5.0, (HEIGHT, WIDTH)).repeat(SCALE, 0).repeat(SCALE, 1)
    textured = np.asarray(soft, dtype=np.float64) * (1 + grain / 100)
    return Image.fromarray(np.clip(textured, 0, 255).round().astype(np.uint8))


def _outside(canvas: Canvas, camera: Camera, rng: np.random.Generator) -> None:
    for row in range(56):  # the sky is brightest above
        shade = camera.daylight * (1.08 - 0.006 * row)
        canvas.polygon([(0, row), (WIDTH, row), (WIDTH, row + 1), (0, row + 1)], shade)
    horizon = rng.uniform(28, 36)
    canvas.polygon(
        [(0, horizon), (WIDTH, horizon - 3), (WIDTH, 60), (0, 60)], camera.daylight * 0.6
    )
    for _ in range(14):  # foliage shines in the near infrared
        at = (float(rng.uniform(0, WIDTH)), float(horizon + rng.uniform(-7, 8)))
        light = float(rng.uniform(0.55, 1.05))
        rx, ry = (float(r) for r in rng.uniform(4, 11, 2))
        canvas.oval(at, rx, ry, camera.daylight * light)


def _body(canvas: Canvas, camera: Camera) -> None:
    trim = camera.trim
    roof = [(0, 0), (WIDTH, 0), (WIDTH, 2), (102, 7), (46, 9), (30, 10), (0, 15)]
    canvas.polygon(roof, trim * 1.35)
    canvas.polygon(
        [(0, 12), (30, 8), (46, 7), (102, 5), (102, 7), (46, 9), (30, 11), (0, 15)], trim
    )
    canvas.limb((62, 8), (78, 7.2), 2.4, 2.4, trim * 2.0)  # the grab handle
    canvas.polygon([(27, 9), (45, 8), (49, 50), (30, 50)], trim * 1.15)  # pillar behind the seat
    canvas.polygon([(41, 8), (45, 8), (49, 50), (45, 50)], trim * 0.7)
    canvas.polygon(
        [(98, 4), (106, 3), (125, 41), (117, 43)], trim * 1.2
    )  # pillar of the windscreen
    canvas.polygon([(104, 3), (106, 3), (125, 41), (122, 42)], trim * 0.7)
    door = [(0, 45), (48, 47), (118, 41), (WIDTH, 42), (WIDTH, HEIGHT), (0, HEIGHT)]
    canvas.polygon(door, trim * 1.1)
    canvas.polygon([(0, 45), (48, 47), (118, 41), (118, 43.5), (48, 50), (0, 48)], trim * 1.9)
    canvas.polygon([(58, 62), (112, 57), (112, 61), (58, 68)], trim * 1.6)  # armrest
    canvas.polygon([(58, 68), (112, 61), (112, 64), (58, 72)], trim * 0.6)
    canvas.oval((84, 82), 11, 11, trim * 0.8)  # loudspeaker
    canvas.oval((84, 82), 9, 9, trim * 0.95)


def _dashboard(canvas: Canvas, camera: Camera) -> None:
    trim = camera.trim
    front = [(113, 49), (128, 43), (128, 106), (97, 106), (104, 84), (109, 62)]
    canvas.polygon(front, trim * 0.85)
    canvas.polygon([(113, 49), (128, 43), (128, 48), (114, 53)], trim * 1.7)
    canvas.polygon([(97, 106), (104, 84), (109, 86), (104, 106)], trim * 1.3)
    canvas.limb((113, 68), WHEEL, 6, 4, trim * 0.9)  # steering column
    _ring(canvas, WHEEL, 8.5, 19.5, 4.6, trim * 0.7)
    _ring(canvas, WHEEL, 8.5, 19.5, 2.6, trim * 2.3)
    canvas.ball(WHEEL, 4.2, 7, trim * 1.7, 12)
    screen = [(106.5, 77), (127, 72.5), (128, 95), (109, 100)]
    canvas.polygon(screen, trim * 1.9)
    canvas.polygon([(108, 78.4), (126, 74.4), (127, 93.6), (110, 98)], 16)
    for column in range(3):
        for row in range(2):
            canvas.box((112 + 5.4 * column, 83 - 1.2 * column + 8 * row), 1.7, 2.4, 88, -12)


def _ring(canvas: Canvas, at: Point, rx: float, ry: float, width: float, shade: float) -> None:
    angles = [2 * math.pi * k / 36 for k in range(37)]
    # Tilted away from the camera: an ellipse that leans with the steering column.
    points = [
        (at[0] + rx * math.cos(a) - 0.2 * ry * math.sin(a), at[1] + ry * math.sin(a))
        for a in angles
    ]
    for a, b in pairwise(points):
        canvas.strip(a, b, width, width, shade)
        canvas.oval(b, width / 2, width / 2, shade)


def _seat(canvas: Canvas, person: Person, camera: Camera) -> None:
    dx, dy = person.seat
    light = camera.trim * 1.7

    def at(*points: Point) -> list[Point]:
        return [(x + dx, y + dy) for x, y in points]

    back = at((15, 112), (12, 66), (17, 45), (28, 36), (42, 37), (52, 48), (58, 112))
    canvas.polygon(back, light * 0.75)
    inner = at((20, 112), (18, 66), (22, 48), (30, 41), (41, 42), (48, 52), (52, 112))
    canvas.polygon(inner, light)
    canvas.polygon(at((24, 112), (23, 66), (26, 52), (32, 46), (37, 47), (41, 112)), light * 1.12)
    for line in (58, 70, 82, 94):
        canvas.polygon(at((18, line), (50, line), (50, line + 1), (18, line + 1)), light * 0.8)
    canvas.polygon(at((31, 30), (33, 30), (33, 38), (31, 38)), light * 1.6)
    canvas.polygon(at((38, 30), (40, 30), (40, 38), (38, 38)), light * 1.6)
    rest = at((25, 31), (24, 19), (29, 13), (39, 13), (45, 20), (45, 31), (40, 34), (29, 34))
    canvas.polygon(rest, light * 0.8)
    rest = at((28, 29), (27, 20), (31, 16), (38, 16), (42, 21), (42, 29), (38, 31), (31, 31))
    canvas.polygon(rest, light * 1.1)
