"""Cut a clip out of its video, as a small video that browsers play."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from featstore.errors import InputError
from pipeline.video.decode import Lost, decode_all
from pipeline.video.index import VideoIndex

MOST_FRAMES = 1500
MOST_PIXELS = 480  # on the longer side
UNTIMED = 10  # frames a second of images of unknown rate
TICKS = 90_000


def extract(path: Path, index: VideoIndex, start: int, stop: int) -> bytes:
    """Return the frames ``[start, stop)`` of a video as an MP4 file, H.264.

    Parameters
    ----------
    path : Path
        A video or a folder of images.
    index : VideoIndex
    start, stop : int
        At most `MOST_FRAMES` frames are taken. Frames that do not decode are left out.

    Raises
    ------
    InputError
        If no frame decodes, or this PyAV has no H.264 encoder.
    """
    import av

    frames = np.arange(start, min(stop, start + MOST_FRAMES, len(index)), dtype=np.int64)
    seconds = index.seconds if index.timed else np.arange(len(index)) / UNTIMED
    file, stream, reason = io.BytesIO(), None, "it has no frames"
    with av.open(file, "w", format="mp4") as output:
        for item in decode_all(path, index, frames, "rgb"):
            if isinstance(item, Lost):
                reason = item.reason
                continue
            number, picture = item
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            if stream is None:
                stream = _stream(output, frame.width, frame.height)
                begin = float(seconds[number])
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            frame.pts = round((float(seconds[number]) - begin) * TICKS)
            frame.time_base = stream.time_base
            output.mux(stream.encode(frame))
        if stream is None:
            raise InputError(f"No frame of the clip in {path.name} decodes: {reason}.")
        output.mux(stream.encode(None))
    return file.getvalue()


def _stream(output: Any, width: int, height: int) -> Any:
    import av

    scale = min(1.0, MOST_PIXELS / max(width, height))
    options = {"preset": "veryfast", "crf": "23"}
    try:
        stream = output.add_stream("libx264", rate=30, options=options)
    except (ValueError, av.FFmpegError) as error:
        raise InputError(
            f"Playing needs FFmpeg's H.264 encoder, which this PyAV lacks ({error}); install PyAV "
            "from its wheel."
        ) from None
    stream.width, stream.height = (max(2, round(side * scale / 2) * 2) for side in (width, height))
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
    return stream
