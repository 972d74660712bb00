"""Crop, flip, brighten pictures as an augmented view says; see `AugmentedView`."""

from __future__ import annotations

from torch import Tensor

from pipeline.build.plan.augmented_view import Change


def cropped(values: Tensor, change: Change) -> Tensor:
    """Return the part of pictures that the crop keeps, a view of the same memory.

    Parameters
    ----------
    values : Tensor, shape (frames, channels, height, width)
    change : Change
    """
    height, width = values.shape[-2:]
    tall, wide = (max(1, round(side * change.side / 100)) for side in (height, width))
    top, left = round(change.top * (height - tall)), round(change.left * (width - wide))
    return values[..., top : top + tall, left : left + wide]


def recoloured(values: Tensor, change: Change, centre: Tensor, offset: int, span: int) -> Tensor:
    """Return pictures with another brightness and contrast, flipped if the change says so.

    Parameters
    ----------
    values : Tensor of float32, shape (frames, channels, height, width)
        Pixels as decoded: ``v`` stands for ``(v - offset) / span`` in 0..1. Borders may be NaN.
    change : Change
    centre : Tensor of float32, shape (1 or 3, 1, 1)
        The mean of the training pixels, as such a value.
    offset, span : int
    """
    middle = offset + change.brightness * (centre - offset)
    values = ((values - centre) * change.contrast + middle).clamp(offset, offset + span)
    return values.flip(-1) if change.flip else values
