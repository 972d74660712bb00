"""From pixels as decoded to what a backbone takes: scaled, fitted to a square, normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.build.extract.augment import cropped, recoloured
from pipeline.build.extract.resize import resize
from pipeline.build.plan.augmented_view import Change
from pipeline.build.plan.fit import fitted_size
from pipeline.build.plan.options import Resample
from pipeline.video.index import VideoIndex
from pipeline.video.modes import PixelMode
from pipeline.video.pixels import Picture, value_scale


def pixel_values(
    pictures: Picture | Tensor, index: VideoIndex, device: torch.device
) -> tuple[Tensor, int, int]:
    """Return pixels as decoded, in float32, clipped to the values that their range has.

    Parameters
    ----------
    pictures : ndarray, shape (frames, height, width) or (frames, height, width, 3)
        Or such a Tensor, of a GPU that decoded it.
    index : VideoIndex
        Says which range luma has.
    device : torch.device

    Returns
    -------
    values : Tensor of float32, shape (frames, 1 or 3, height, width)
    offset, span : int
        A value ``v`` stands for ``(v - offset) / span`` in 0..1.
    """
    mode: PixelMode = "rgb" if pictures.ndim == 4 else "luma"
    offset, span = value_scale(index, mode, pictures.dtype)
    if not isinstance(pictures, Tensor):
        signed = pictures.astype(np.int32) if pictures.dtype == np.uint16 else pictures
        pictures = torch.from_numpy(signed)
    if device.type == "cuda" and not pictures.is_cuda:
        pictures = pictures.pin_memory()  # without which copies do not overlap
    pictures = pictures.to(device, non_blocking=True)
    if pictures.dtype != torch.uint8 or (offset, span) != (0, 255):
        # Clipped as integers, of which there are fewer bytes.
        pictures = pictures.clamp(offset, offset + span)
    pictures = pictures.permute(0, 3, 1, 2) if pictures.ndim == 4 else pictures.unsqueeze(1)
    # On a CPU, resizing takes the channels one after the other; a GPU has a kernel for either.
    order = torch.contiguous_format if device.type == "cpu" else torch.preserve_format
    values = pictures.to(torch.float32, memory_format=order)
    return values, offset, span


def fit_square(values: Tensor, size: int, fit: str, resample: Resample = "bilinear") -> Tensor:
    """Resize to ``size`` x ``size`` with antialiasing, in float32, on any device.

    Parameters
    ----------
    values : Tensor of float32, shape (frames, channels, height, width)
    size : int
    fit : str
        ``squash`` changes the aspect; ``crop`` and ``crop:EDGE`` keep the centre; ``pad`` leaves
        NaN at the borders for the caller to fill.
    resample : {"bilinear", "bicubic"}
        Bicubic values may exceed the range of pixels.
    """
    height, width = values.shape[-2:]
    tall, wide = fitted_size(height, width, size, fit)
    values = resize(values, tall, wide, resample)
    if fit == "squash":
        return values
    if fit != "pad":
        top, left = (tall - size) // 2, (wide - size) // 2
        return values[..., top : top + size, left : left + size]
    top, left = (size - tall) // 2, (size - wide) // 2
    borders = (left, size - wide - left, top, size - tall - top)
    return functional.pad(values, borders, value=float("nan"))


def prepare(
    pictures: Picture | Tensor,
    index: VideoIndex,
    *,
    size: int,
    fit: str,
    resample: Resample = "bilinear",
    mean: Sequence[float],
    std: Sequence[float],
    channels: int = 3,
    device: torch.device,
    change: Change | None = None,
) -> Tensor:
    """Return frames as a backbone takes them.

    Borders of ``pad`` get the mean. A grey picture is repeated where three channels are taken.

    Parameters
    ----------
    pictures : ndarray or Tensor, shape (frames, height, width) or (frames, height, width, 3)
    index : VideoIndex
    size, fit, resample
        See `fit_square`.
    mean, std : sequence of float
        Of pixels in 0..1, one value for every channel or three.
    channels : int
        How many the backbone takes.
    device : torch.device
    change : Change, optional
        Of an augmented view; the crop is fitted like a whole picture.

    Returns
    -------
    Tensor of float32, shape (frames, channels, size, size)
    """
    values, offset, span = pixel_values(pictures, index, device)
    # Resizing averages, so scale and statistics may follow it, on fewer pixels.
    centre = offset + span * torch.tensor(mean, dtype=torch.float64, device=device).view(-1, 1, 1)
    spread = span * torch.tensor(std, dtype=torch.float64, device=device).view(-1, 1, 1)
    if change:
        values = cropped(values, change)
    values = fit_square(values, size, fit, resample)
    if resample == "bicubic":
        values = values.clamp(offset, offset + span)
    if change:
        values = recoloured(values, change, centre.float(), offset, span)
    normalised = (values - centre.float()).div_(spread.float())
    if fit == "pad":
        normalised = normalised.nan_to_num(0.0)
    return normalised.expand(-1, channels, -1, -1)
