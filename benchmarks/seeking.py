"""What many training scripts do: open the video for every clip and seek every frame of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def clip_frames(
    path: Path, frames: NDArray[np.int64], size: int, mean: float, std: float
) -> Tensor:
    """Return the frames of one clip as a backbone takes them, shape (frames, 3, size, size).

    Raises
    ------
    ValueError
        If OpenCV does not deliver a frame.
    """
    video = cv2.VideoCapture(str(path))
    prepared = []
    for number in frames.tolist():
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        found, picture = video.read()
        if not found:
            raise ValueError(f"OpenCV did not read frame {number} of {path}")
        colours = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        square = Image.fromarray(colours).resize((size, size), Image.Resampling.BILINEAR)
        values = torch.from_numpy(np.array(square)).permute(2, 0, 1).to(torch.float32)
        prepared.append((values / 255 - mean) / std)
    video.release()
    return torch.stack(prepared)
