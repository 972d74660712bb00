"""A supersampled grey canvas whose coordinates are pixels of the finished picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Point = tuple[float, float]
GreyImage = npt.NDArray[np.uint8]

WIDTH = 128
HEIGHT = 106
SCALE = 3  # supersampling: drawn three times as large, then averaged


@lru_cache(maxsize=1)
def _circle() -> tuple[tuple[float, float], ...]:
    angles = [2 * math.pi * k / 22 for k in range(22)]
    return tuple((math.cos(a), math.sin(a)) for a in angles)


def mix(a: Point, b: Point, amount: float) -> Point:
    """Return the point that lies `amount` of the way from `a` to `b`."""
    return a[0] + (b[0] - a[0]) * amount, a[1] + (b[1] - a[1]) * amount


def turned(points: Sequence[Point], at: Point, degrees: float) -> list[Point]:
    """Rotate `points` about the origin, clockwise on the screen, and move them to `at`."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(at[0] + x * c - y * s, at[1] + x * s + y * c) for x, y in points]


class Canvas:
    """Draws shapes in final pixels, shades from 0 to 255.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode ``L``, `SCALE` times ``(WIDTH, HEIGHT)``; drawn on in place.
    """

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    def polygon(self, points: Sequence[Point], shade: float) -> None:
        """Fill the polygon through `points`."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        self._draw.polygon(scaled, fill=_grey(shade))

    def oval(self, at: Point, rx: float, ry: float, shade: float, degrees: float = 0.0) -> None:
        """Fill an ellipse around `at`."""
        if degrees:
            self.polygon(turned([(x * rx, y * ry) for x, y in _circle()], at, degrees), shade)
            return
        x, y = at
        box = ((x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE)
        self._draw.ellipse(box, fill=_grey(shade))

    def box(self, at: Point, rx: float, ry: float, shade: float, degrees: float = 0.0) -> None:
        """Fill a rectangle of half sizes `rx` and `ry` around `at`."""
        corners = [(-rx, -ry), (rx, -ry), (rx, ry), (-rx, ry)]
        self.polygon(turned(corners, at, degrees), shade)

    def strip(self, a: Point, b: Point, wa: float, wb: float, shade: float) -> None:
        """Fill a band from `a` to `b` that is `wa` wide at one end and `wb` at the other."""
        length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
        nx, ny = -(b[1] - a[1]) / length / 2, (b[0] - a[0]) / length / 2
        corners = [
            (a[0] + nx * wa, a[1] + ny * wa),
            (b[0] + nx * wb, b[1] + ny * wb),
            (b[0] - nx * wb, b[1] - ny * wb),
            (a[0] - nx * wa, a[1] - ny * wa),
        ]
        self.polygon(corners, shade)

    def limb(self, a: Point, b: Point, wa: float, wb: float, shade: float) -> None:
        """Fill a rounded limb, brighter along its middle as under a lamp beside the camera."""
        for width, light in ((1.0, 0.72), (0.72, 0.9), (0.4, 1.0)):
            self.strip(a, b, wa * width, wb * width, shade * light)
            self.oval(a, wa * width / 2, wa * width / 2, shade * light)
            self.oval(b, wb * width / 2, wb * width / 2, shade * light)

    def ball(self, at: Point, rx: float, ry: float, shade: float, degrees: float = 0.0) -> None:
        """Fill an ellipse that darkens towards its rim."""
        for size, light in ((1.0, 0.7), (0.84, 0.87), (0.62, 0.97), (0.35, 1.03)):
            self.oval(at, rx * size, ry * size, shade * light, degrees)

    def finished(self) -> GreyImage:
        """Return the picture at its final size, ``(HEIGHT, WIDTH)`` uint8."""
        return np.asarray(self.image.reduce(SCALE), dtype=np.uint8)


def _grey(shade: float) -> int:
    return min(255, max(0, round(shade)))
