"""Open a video file, and never another file or address."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from featstore.errors import InputError

# Demuxers that read other files or the network, which the file's hash does not cover.
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

    FFmpeg would read ``http:/x.mp4`` as an address, ``10:30.mp4`` as a protocol, and
    ``%03d.png`` as a pattern; here each is the name of one file.

    Parameters
    ----------
    path : Path
    data : bytes
        Content of a TIFF file to read instead of the file at `path`.
    max_pixels : int
        Most pixels of the picture that is decoded to open the file; 0 for FFmpeg's limit.
    untrimmed : bool
        Also read frames that an edit list of MP4 or MOV skips.

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
    except ValueError:  # PyAV before 17 has no name of its own for it
        if not (name := _refused_format(path)):
            raise
    title = av.ContainerFormat(name).long_name
    raise InputError(
        f"{path} is {name} ({title}), which refers to other files; convert it to one video file, "
        "such as an MP4."
    )


def file_url(path: Path) -> str:
    """Return the URL that makes FFmpeg open exactly this file."""
    return f"file:{path.absolute()}"


def _open(path: Path, data: bytes = b"", max_pixels: int = 0, *, untrimmed: bool = False) -> Any:
    import av

    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _self_contained(planes=path.suffix.lower() == ".y"),
        "pattern_type": "none",  # no number patterns in names of images
        "enable_drefs": "0",  # no MOV data in other files
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
    """Return the demuxers that read one file; with `planes`, a picture would span three files."""
    import av

    refused = {*REFERRING, *(["image2"] if planes else [])}
    return ",".join(sorted(av.formats_available - refused))


def _refused_format(path: Path) -> str:
    """Return the format that FFmpeg was not allowed to open; empty if the format is allowed."""
    import av

    with _logging:
        level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.ERROR)  # only this message names the format
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
