"""Split the frames of a video into pieces that several threads can decode at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.video.index import VideoIndex

# Opening a long video and seeking takes as long as decoding some dozens of frames.
PIECE_FRAMES = 64
WORTH_A_SEEK = 64


def pieces(
    index: VideoIndex, frames: NDArray[np.int64], decoder: str = "pyav"
) -> list[NDArray[np.int64]]:
    """Split frames at key frames, so that no frame is decoded twice.

    A piece ends when it has `PIECE_FRAMES` frames, or before a gap of more than `WORTH_A_SEEK`
    unused frames to the next key frame.

    Parameters
    ----------
    index : VideoIndex
    frames : ndarray of int64
        Ascending, each once.
    decoder : str
        See `pipeline.video.modes.DECODERS`; torchcodec takes too long to open a video again.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from pipeline.video.index import empty_index
    >>> index = replace(empty_index(), keys=np.array([0, 100, 200, 300]))
    >>> [piece.tolist() for piece in pieces(index, np.array([5, 95, 150, 390]))]
    [[5, 95, 150], [390]]
    """
    if decoder != "pyav" or not len(index.keys):
        return [frames]
    key = np.searchsorted(index.keys, frames, "right") - 1
    possible = np.flatnonzero(np.diff(key)) + 1
    unasked = index.keys[key[possible]] - frames[possible - 1]
    cuts, last = [], 0
    for cut, skipped in zip(possible.tolist(), unasked.tolist(), strict=True):
        if cut - last >= PIECE_FRAMES or skipped > WORTH_A_SEEK:
            cuts.append(cut)
            last = cut
    return np.split(frames, cuts)
