"""The cameras of the drawn car: the first sees the scene as it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.demo.canvas import HEIGHT, WIDTH, GreyImage
from pipeline.demo.people import Camera


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One camera, named as Drive&Act names its position.

    Attributes
    ----------
    name, suffix : str
        Of its folder, and of its videos.
    late : int
        How many frames later than the first camera it begins: each counts its own frames.
    closer : float
        Factor by which it is nearer to the scene.
    down : int
        How far below the middle it looks, in pixels.
    mirrored : bool
        Whether it looks from the other side.
    noise : float
        Factor on the noise.
    """

    name: str
    suffix: str
    late: int = 0
    closer: float = 1.0
    down: int = 0
    mirrored: bool = False
    noise: float = 1.0

    def camera(self, first: Camera) -> Camera:
        """Return what films this view, given what films the first one."""
        if self == VIEWS[0]:
            return first
        x, y = first.lamp
        return replace(
            first,
            lamp=(WIDTH - x if self.mirrored else x, y),
            noise=first.noise * self.noise,
            seed=first.seed + 2,  # the first camera takes its seed and the next one
        )

    def see(self, clean: GreyImage) -> GreyImage:
        """Return what this camera sees of the drawn scene, ``(HEIGHT, WIDTH)`` uint8."""
        y = (np.arange(HEIGHT) - HEIGHT / 2) / self.closer + HEIGHT / 2 + self.down
        x = (np.arange(WIDTH) - WIDTH / 2) / self.closer + WIDTH / 2
        rows, columns = (np.rint(at).astype(np.intp) for at in (y, x))
        seen: GreyImage = clean[rows.clip(0, HEIGHT - 1)][:, columns.clip(0, WIDTH - 1)]
        return seen[:, ::-1] if self.mirrored else seen


VIEWS = (
    View(name="kinect_ir", suffix="kinect_ir"),
    # Close to the driver: it sees hands and lap well, and a part of the head.
    View(
        name="a_column_driver",
        suffix="ids_5",
        late=5,
        closer=1.25,
        down=8,
        mirrored=True,
        noise=1.5,
    ),
)
