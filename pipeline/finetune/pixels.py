"""Turn frames into a backbone's input, with augmentation in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.backbones import COLOURS
from pipeline.finetune.options import Tuning
from pipeline.system.device import upload


class Pixels:
    """Normalises and augments batches of frames.

    Parameters
    ----------
    mean, std : sequence of float
        Statistics of pixels in 0..1, one value or three.
    device : torch.device
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self._device = device
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
            for values in (mean, std)
        )

    def __call__(
        self,
        frames: NDArray[np.uint8],
        tuning: Tuning | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return normalised frames of three channels.

        Parameters
        ----------
        frames : ndarray of uint8, shape (n, 1 or 3, size, size)
        tuning : Tuning, optional
            Options of the augmentation; none by default.
        generator : torch.Generator, optional
            On the CPU, so that a seed gives the same changes on every device.

        Returns
        -------
        Tensor of float32, shape (n, 3, size, size)
            In channels-last memory format, the fastest for convolutions.
        """
        x = upload(frames, self._device).to(torch.float32) / 255
        if tuning is not None:
            x = change_light(
                change_place(x, tuning.crop, flip=tuning.flip, generator=generator),
                tuning.light,
                generator=generator,
            )
        x = ((x - self._mean) / self._std).expand(-1, COLOURS, -1, -1)
        return x.contiguous(memory_format=torch.channels_last)


def change_place(
    x: Tensor, crop: float, *, flip: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """Return a random crop of every frame, scaled to full size; `flip` mirrors half of them.

    Parameters
    ----------
    x : Tensor of float32, shape (n, channels, height, width)
    crop : float
        Smallest side of a crop, as a share; both sides are drawn separately. 1 changes nothing.
    flip : bool
    generator : torch.Generator, optional

    Returns
    -------
    Tensor of the same shape
        Interpolated bilinearly.
    """
    drawn = torch.rand(5, len(x), generator=generator)
    sides = crop + (1 - crop) * drawn[:2]
    # Coordinates run from -1 to 1 between the borders.
    centres = (1 - sides) * (2 * drawn[2:4] - 1)
    mirror = torch.where(drawn[4] < 0.5, -1.0, 1.0) if flip else torch.ones(len(x))
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = sides[0] * mirror, centres[0]
    theta[:, 1, 1], theta[:, 1, 2] = sides[1], centres[1]
    grid = functional.affine_grid(
        theta.to(x.device, non_blocking=True), list(x.shape), align_corners=False
    )
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def change_light(x: Tensor, light: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Return frames with random contrast and brightness; values stay in 0..1.

    Parameters
    ----------
    x : Tensor of float32, shape (n, channels, height, width)
    light : float
        Contrast is multiplied by 1 - light to 1 + light; brightness shifts by the same share of
        the mean.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor of the same shape
    """
    drawn = light * (2 * torch.rand(2, len(x), 1, 1, 1, generator=generator) - 1)
    drawn = drawn.to(x.device, non_blocking=True)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return ((x - mean) * (1 + drawn[0]) + mean * (1 + drawn[1])).clamp(0, 1)
