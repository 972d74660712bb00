"""Write a recording as a video with the predicted label and its probability on each frame."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import InputError
from featstore.format.files import replacing
from featstore.text import visible
from pipeline.predict.segments import Segment
from pipeline.types import Floats, Log
from pipeline.video.decode import Lost, decode_all
from pipeline.video.videos import Video

if TYPE_CHECKING:
    from PIL.Image import Image

# Small sensors are shown larger, so that text fits.
LEAST_WIDTH = 480
BAND = 56
BAR = (0, 158, 115)
NOTHING = "-"


def write_overlay(
    path: Path,
    video: Video,
    bounds: Floats,
    slots: Floats,
    segments: Sequence[Segment],
    classes: Sequence[str],
    log: Log,
) -> None:
    """Decode a recording again and write it with a band of label and probability below.

    Parameters
    ----------
    path : Path
        An MP4 file, H.264.
    video : Video
    bounds : float64 array (slots + 1,)
        Seconds.
    slots : float64 array (slots, classes)
        Probabilities, for the bar of each moment.
    segments : sequence of Segment
        For the label of each moment.
    classes : sequence of str
    log : callable
        Told how many frames did not decode; they are left out.

    Raises
    ------
    InputError
        If this build of PyAV has no H.264 encoder.
    """
    import av

    index = video.index
    frames = np.arange(len(index), dtype=np.int64)
    seconds = index.seconds
    lost = 0
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as output:
        try:
            stream: Any = output.add_stream("libx264", rate=round(index.rate or 1) or 1)
        except (ValueError, av.FFmpegError) as error:
            raise InputError(
                f"--overlay needs FFmpeg's H.264 encoder, which this PyAV lacks ({error}); leave "
                "it out, or install PyAV from its wheel."
            ) from None
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90_000)
        for item in decode_all(video.path, index, frames, "rgb"):
            if isinstance(item, Lost):
                lost += len(item.frames)
                continue
            number, picture = item
            now = float(seconds[number])
            image = _drawn(np.asarray(picture), now, bounds, slots, segments, classes)
            if not stream.width or not number:
                stream.width, stream.height = image.size
            drawn = np.asarray(image.resize((stream.width, stream.height)))
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame.pts = round((now - float(seconds[0])) * 90_000)
            frame.time_base = stream.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    if lost:
        log(f"{path}: {lost} frames did not decode and are left out")


def _drawn(
    picture: Any,
    now: float,
    bounds: Floats,
    slots: Floats,
    segments: Sequence[Segment],
    classes: Sequence[str],
) -> Image:
    """Return a frame above a band with the label, its probability, and a bar of it."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture.astype(np.uint8))
    scale = -(-LEAST_WIDTH // image.width) if image.width < LEAST_WIDTH else 1
    width, height = (2 * (side * scale // 2) for side in image.size)
    canvas = Image.new("RGB", (width, height + BAND))
    canvas.paste(image.resize((width, height), Image.Resampling.NEAREST))
    draw = ImageDraw.Draw(canvas)
    label = next((one.label for one in segments if one.begin <= now < one.end), None)
    slot = int(np.clip(np.searchsorted(bounds, now, "right") - 1, 0, len(slots) - 1))
    text, share = NOTHING, 0.0
    if label is not None:
        share = float(np.nan_to_num(slots[slot, label]))
        text = f"{visible(classes[label])}  {100 * share:.0f} %"
    draw.rectangle((0, height + BAND - 10, int(width * share), height + BAND), fill=BAR)
    font = ImageFont.load_default(size=24)
    draw.text((10, height + 6), text, fill=(255, 255, 255), font=font)
    draw.text((width - 110, height + 6), f"{now:8.2f} s", fill=(180, 180, 180), font=font)
    return canvas
