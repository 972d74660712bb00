"""What is raised where a frame does not decode."""

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
    """Why an image cannot be taken, as what follows its name in a sentence."""
