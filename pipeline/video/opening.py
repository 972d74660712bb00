"""Open a video file, and no other file or address."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from featstore.errors import InputError

# Demuxers that read further files or the network, whose content no hash of the file covers.
REFERRING = (
    "avisynth",
    "concat",
    "dash",
    "dvdvideo",
    "hls",
    "imf",
    "lavfi",
    "mlv",
    "rtp",
    "rtsp",
    "sap",
    "sdp",
    "vapoursynth",
    "vobsub",
    "webm_dash_manifest",
)
_logging = Lock()


def open_video(
    path: Path, *, data: bytes = b"", max_pixels: int = 0, untrimmed: bool = False
) -> Any:
    """Open a video or an image for reading.

    FFmpeg would take ``http:/x.mp4`` for an address, ``10:30.mp4`` for a protocol, and
    ``%03d.png`` for a pattern; here each is the name of one file.

    Parameters
    ----------
    path : Path
    data : bytes
        Of a TIFF file, to be read in the place of those at `path`.
    max_pixels : int
        That a picture may have which is decoded to open the file; 0 for FFmpeg's own limit.
    untrimmed : bool
        Read frames, too, that an edit list of MP4 or MOV leaves out.

    Returns
    -------
    av.container.InputContainer

    Raises
    ------
    InputError
        If the file's format refers to other files.
    av.FFmpegError, OSError
        If the file cannot be opened.
    """
    import av

    try:
        return _open(path, data, max_pixels, untrimmed=untrimmed)
    except av.ArgumentError:
        if not (name := _refused_format(path)):
            raise
    title = av.ContainerFormat(name).long_name
    raise InputError(
        f"{path} is not one video file but {name} ({title}), which refers to other files; convert "
        "it to one file, such as an MP4."
    )


def file_url(path: Path) -> str:
    """Return what FFmpeg opens as exactly this file."""
    return f"file:{path.absolute()}"


def _open(path: Path, data: bytes = b"", max_pixels: int = 0, *, untrimmed: bool = False) -> Any:
    import av

    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _self_contained(planes=path.suffix.lower() == ".y"),
        "pattern_type": "none",  # of numbers in the names of images
        "enable_drefs": "0",  # data of MOV in other files
        "ignore_editlist": str(int(untrimmed)),
    }
    limits: Any = [{"max_pixels": str(max_pixels)}] if max_pixels else None
    file = io.BytesIO(data) if data else file_url(path)
    return av.open(
        file,
        format="tiff_pipe" if data else None,
        metadata_errors="ignore",
        container_options=options,
        stream_options=limits,
    )


@cache
def _self_contained(*, planes: bool) -> str:
    """Return the demuxers that read one file; `planes` of one picture lie in three."""
    import av

    refused = {*REFERRING, *(["image2"] if planes else [])}
    return ",".join(sorted(av.formats_available - refused))


def _refused_format(path: Path) -> str:
    """Return the format of a file that FFmpeg was not allowed to open; empty if it was."""
    import av

    with _logging:
        level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.ERROR)  # the only place where FFmpeg names the format
        av.logging.set_skip_repeated(False)
        try:
            with av.logging.Capture() as messages:
                _open(path).close()
        except av.FFmpegError:
            pass
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skips)
    refusals = (name for _, name, text in messages if text.startswith("Format not on whitelist"))
    return next(refusals, "")
