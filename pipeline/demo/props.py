"""Draws the objects that people hold."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.demo.canvas import Canvas, Point, mix, turned
from pipeline.demo.pose import Prop


def draw_prop(canvas: Canvas, prop: Prop) -> None:
    """Draw one object where it is.

    Parameters
    ----------
    canvas : Canvas
    prop : Prop
    """
    {
        "bottle": _bottle,
        "cap": _cap,
        "glasses": _glasses,
        "food": _food,
        "phone": _phone,
        "magazine": _magazine,
        "laptop": _laptop,
        "backpack": _backpack,
    }[prop.kind](canvas, prop)


def draw_glasses(canvas: Canvas, at: Point, degrees: float, size: float) -> None:
    """Draw the lenses of sunglasses around `at`, on a nose or in a hand."""
    for x in (-3.9, 3.6):
        lens = turned([(x * size, 0.0)], at, degrees)[0]
        canvas.oval(lens, 3.5 * size, 2.9 * size, 10, degrees)
        glint = turned([((x - 1.0) * size, -1.0 * size)], at, degrees)[0]
        canvas.oval(glint, 0.9 * size, 0.6 * size, 90, degrees)
    canvas.box(at, 6.6 * size, 0.8 * size, 10, degrees)


def _shape(canvas: Canvas, prop: Prop, points: Sequence[Point], shade: float) -> None:
    canvas.polygon(turned(points, prop.at, prop.degrees), shade)


def _bottle(canvas: Canvas, prop: Prop) -> None:
    body = [(-6, 15), (-6, -4), (-3, -9), (-3, -13), (3, -13), (3, -9), (6, -4), (6, 15)]
    _shape(canvas, prop, body, 120)
    _shape(canvas, prop, [(x * 0.78, y * 0.96) for x, y in body], 196)
    _shape(canvas, prop, [(-2.6, 14), (-2.6, -3), (-0.6, -6), (-0.6, 14)], 236)
    _shape(canvas, prop, [(-6, 8), (-6, 0), (6, 0), (6, 8)], 62)
    _shape(canvas, prop, [(-3.2, -11.5), (3.2, -11.5), (3.2, -13), (-3.2, -13)], 90)


def _cap(canvas: Canvas, prop: Prop) -> None:
    _shape(canvas, prop, [(-4.2, 2.6), (-3.8, -2.8), (3.8, -2.8), (4.2, 2.6)], 16)
    _shape(canvas, prop, [(-3, -1.4), (3, -1.4), (3, -2.4), (-3, -2.4)], 70)


def _glasses(canvas: Canvas, prop: Prop) -> None:
    arm = turned([(-6.5, -0.5), (-9, 6.5)], prop.at, prop.degrees)
    canvas.strip(arm[0], arm[1], 1.4, 1.2, 12)
    draw_glasses(canvas, prop.at, prop.degrees, 1.1)


def _food(canvas: Canvas, prop: Prop) -> None:
    canvas.oval(prop.at, 9.2, 7.8, 100, prop.degrees)
    top = turned([(0, -2.8)], prop.at, prop.degrees)[0]
    canvas.ball(top, 8.8, 5.0, 238, prop.degrees)
    canvas.box(prop.at, 9.2, 1.6, 24, prop.degrees)
    low = turned([(0, 3.8)], prop.at, prop.degrees)[0]
    canvas.oval(low, 8.4, 3.2, 212, prop.degrees)


def _phone(canvas: Canvas, prop: Prop) -> None:
    canvas.box(prop.at, 4.4, 9.6, 130, prop.degrees)
    canvas.box(prop.at, 3.7, 8.8, 14, prop.degrees)
    lens = turned([(-1.6, -6.6)], prop.at, prop.degrees)[0]
    canvas.oval(lens, 1.1, 1.1, 150)


def _magazine(canvas: Canvas, prop: Prop) -> None:
    for side in (-1, 1):
        page = [(0, -11), (17 * side, -14), (18 * side, 9), (0, 12)]
        _shape(canvas, prop, page, 170)
        _shape(canvas, prop, [(x * 0.95, y * 0.95) for x, y in page], 226 if side < 0 else 214)
        _shape(
            canvas, prop, [(3 * side, -8), (14 * side, -10), (14 * side, -2), (3 * side, -1)], 120
        )
        for row in range(3):
            y = 1.5 + 2.8 * row
            line = [(3 * side, y), (15 * side, y - 1.5), (15 * side, y - 0.5), (3 * side, y + 1)]
            _shape(canvas, prop, line, 150)
    if prop.state > 0:  # a page on its way from right to left
        edge = 17 * (1 - 2 * prop.state)
        lift = 9 * (1 - abs(1 - 2 * prop.state))
        _shape(canvas, prop, [(0, -11), (edge, -14 - lift), (edge, 9 - lift), (0, 12)], 245)


def _laptop(canvas: Canvas, prop: Prop) -> None:
    base = [(-20, 0), (12, -3), (20, 4), (-13, 8)]
    _shape(canvas, prop, [(x, y + 2.4) for x, y in base], 50)
    _shape(canvas, prop, base, 150)
    _shape(canvas, prop, [(-14, 0.6), (9, -1.6), (14, 2.6), (-10, 5.2)], 66)  # keys
    shut = [(-20, 0), (-13, 8)]
    wide = [(17, -27), (25, -20)]
    # The lid turns about the edge far from the body: shut it lies on the keys.
    far = [mix(a, b, prop.state) for a, b in zip(shut, wide, strict=True)]
    rise = 22 * prop.state * (1 - prop.state) * 2
    tips = [(x, y - rise) for x, y in far]
    lid = [(12, -3), (20, 4), tips[1], tips[0]]
    _shape(canvas, prop, lid, 90 if prop.state > 0.1 else 120)
    middle = (sum(x for x, _ in lid) / 4, sum(y for _, y in lid) / 4)
    _shape(canvas, prop, [mix(middle, p, 0.85) for p in lid], 150 + 90 * prop.state)


def lid_edge(prop: Prop) -> Point:
    """Return where a hand holds the lid of a laptop."""
    rise = 22 * prop.state * (1 - prop.state) * 2
    edge = mix((-16.5, 4), (21, -23.5), prop.state)
    return prop.at[0] + edge[0], prop.at[1] + edge[1] - rise


def _backpack(canvas: Canvas, prop: Prop) -> None:
    canvas.ball(prop.at, 20, 19, 74, prop.degrees)
    low = turned([(1, 7)], prop.at, prop.degrees)[0]
    canvas.ball(low, 13, 8, 96, prop.degrees)
    seam = [(-17 + 34 * prop.state, -8), (17, -8), (17, -5), (-17 + 34 * prop.state, -5)]
    _shape(canvas, prop, seam, 20)
    _shape(canvas, prop, [(-17, -7), (17, -7), (17, -6), (-17, -6)], 160)
