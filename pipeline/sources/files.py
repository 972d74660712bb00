"""Name videos, and tell them from other files; no video is opened here."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".webm", ".wmv", ".y4m",
))
# fmt: on
# Files that operating systems add to folders, besides names with a leading dot.
LEFT_BY_SYSTEMS = frozenset(("@eadir", "__macosx", "desktop.ini", "thumbs.db"))
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))

_UCF101 = re.compile(r"v_.+_(g\d+)_c\d+")


def locate(root: Path, text: str) -> tuple[str, Path]:
    """Return the name and path of a video; `text` is relative to `root`, or absolute.

    Examples
    --------
    >>> locate(Path("data"), "./a/../b.mp4")[0]
    'b.mp4'
    """
    name = posixpath.normpath(text)
    # The name of a video must not depend on the location of the data set.
    if name.startswith("/"):
        base = posixpath.normpath(root.absolute().as_posix())
        if Path(name).is_relative_to(base):
            name = Path(name).relative_to(base).as_posix()
    return name, root / text


def without_suffix(video: str) -> str:
    """Return a video's name without its extension; keep dots in the name of an image folder.

    Examples
    --------
    >>> without_suffix("run/a.mp4"), without_suffix("run/frames.v2")
    ('run/a', 'run/frames.v2')
    """
    stem, suffix = posixpath.splitext(video)
    return stem if suffix.casefold() in VIDEO_SUFFIXES else video


def is_visible(name: str) -> bool:
    """Tell whether a file or folder is the user's: not hidden, and not added by a system.

    Examples
    --------
    >>> [is_visible(name) for name in ("f1.png", "._f1.png", "Thumbs.db", "@eaDir")]
    [True, False, False, False]
    """
    return not name.startswith(".") and name.casefold() not in LEFT_BY_SYSTEMS


def visible_entries(folder: Path) -> list[Path]:
    """Return the sorted visible files and folders in a folder; see `is_visible`."""
    return sorted(entry for entry in folder.iterdir() if is_visible(entry.name))


def is_image_folder(path: Path) -> bool:
    """Tell whether `path` is a folder of numbered images, which counts as a video."""
    return path.is_dir() and any(
        entry.suffix.casefold() in IMAGE_SUFFIXES and re.search(r"\d", entry.stem)
        for entry in visible_entries(path)
    )


def group_of(video: str) -> str | None:
    """Return the group in a UCF101 file name, which counts as the subject.

    Examples
    --------
    >>> group_of("Archery/v_Archery_g01_c02.avi")
    'g01'
    """
    match = _UCF101.fullmatch(posixpath.basename(without_suffix(video)))
    return match[1] if match else None
