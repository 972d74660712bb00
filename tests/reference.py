"""Plain, slow ways to the same numbers, which share no code with the project."""

from pathlib import Path

import av
import numpy as np
import torch
from torch import nn


def filter_matrix(old: int, new: int) -> np.ndarray:
    """Weights (new, old) of bilinear resizing with antialiasing: a triangle over each pixel."""
    scale = old / new
    support = max(1.0, scale)
    centres = (np.arange(new) + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(old) - centres[:, None]) / support)
    return weights / weights.sum(axis=1, keepdims=True)


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (h, w) in float64."""
    tall, wide = filter_matrix(pixels.shape[0], height), filter_matrix(pixels.shape[1], width)
    return tall @ pixels @ wide.T


def fitted(pixels: np.ndarray, size: int, fit: str) -> np.ndarray:
    """Fit (h, w) into a square; borders are NaN."""
    height, width = pixels.shape
    if fit == "squash":
        return resized(pixels, size, size)
    side = min(height, width) if fit == "crop" else max(height, width)
    tall, wide = (max(1, round(length * size / side)) for length in (height, width))
    small = resized(pixels, tall, wide)
    if fit == "crop":
        top, left = (tall - size) // 2, (wide - size) // 2
        return small[top : top + size, left : left + size]
    square = np.full((size, size), np.nan)
    top, left = (size - tall) // 2, (size - wide) // 2
    square[top : top + tall, left : left + wide] = small
    return square


def luma_frames(path: Path) -> np.ndarray:
    """Decode a planar 8-bit video front to back; the Y planes, (n, h, w)."""
    with av.open(str(path)) as container:
        planes = [frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)]
    return np.stack(planes)


def network_inputs(
    unit: np.ndarray, mean: float, std: float, size: int, fit: str = "squash"
) -> list[torch.Tensor]:
    """Fit and normalise pixels (n, h, w) in 0..1, and repeat them to three channels."""
    squares = [np.nan_to_num((fitted(pixels, size, fit) - mean) / std) for pixels in unit]
    return [torch.from_numpy(np.stack([s] * 3).astype(np.float32)) for s in squares]


def last_layer(network: nn.Module) -> tuple[str, nn.Module]:
    """The last linear layer or convolution of one pixel of a classifier, by its name."""
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d | nn.Conv3d) and set(module.kernel_size) == {1})
    ]
    return found[-1]


@torch.no_grad()
def features(network: nn.Module, inputs: list[torch.Tensor]) -> np.ndarray:
    """What enters the last layer of a whole network, one input a forward; maps are averaged."""
    caught: list[torch.Tensor] = []
    hook = last_layer(network)[1].register_forward_pre_hook(
        lambda _, given: caught.append(given[0])
    )
    network.eval()
    for x in inputs:
        network(x[None])
    hook.remove()
    maps = [x.flatten(2).mean(2) if x.ndim > 2 else x for x in caught]
    return torch.cat(maps).numpy()
