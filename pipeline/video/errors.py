"""Errors that decoding raises."""

from __future__ import annotations

from pathlib import Path

from featstore.errors import InputError


class DecodeError(InputError):
    """A frame did not decode as the index says.

    Parameters
    ----------
    path : Path
    frame : int
        The first frame that is missing or wrong.
    reason : str
    """

    def __init__(self, path: Path, frame: int, reason: str) -> None:
        super().__init__(
            f"{path}: frame {frame} did not decode ({reason}); replace the video or remove the "
            "clips that need this frame."
        )
        self.path = path
        self.frame = frame
        self.reason = f"frame {frame} did not decode ({reason})"


class ImageError(Exception):
    """An image cannot be used; the message continues a sentence after the image's name."""
