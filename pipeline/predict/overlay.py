"""Write a recording as a video that shows the prediction below each frame."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import InputError
from featstore.format.files import replacing
from featstore.text import visible
from pipeline.predict.recording import Predicted
from pipeline.predict.segments import Timeline
from pipeline.types import Log
from pipeline.video.decode import Lost, decode_all
from pipeline.video.videos import Video

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

# Small sensors are shown larger, so that text fits.
LEAST_WIDTH = 480
# Heights of the parts of the band, in pixels; even, as the encoder wants.
LABEL, CAPTION, ATTENTION, BAR = 44, 16, 40, 10
GREEN, ORANGE, WHITE, GREY = (0, 158, 115), (230, 159, 0), (255, 255, 255), (180, 180, 180)
NOTHING = "-"


def write_overlay(
    path: Path,
    video: Video,
    predicted: Predicted,
    timeline: Timeline,
    classes: Sequence[str],
    log: Log,
) -> None:
    """Decode a recording again and write it with a band below that shows the prediction.

    The band has the label, its probability as a number and as a bar, and for a head that attends
    the attention over the steps of the window around the moment.

    Parameters
    ----------
    path : Path
        An MP4 file, H.264.
    video : Video
    predicted : Predicted
        For the attention.
    timeline : Timeline
        For the label and the probability.
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
    band = _Band(predicted, timeline, classes)
    lost, sized = 0, False
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
            image = band.below(np.asarray(picture), now)
            if not sized:  # by the first picture; PyAV begins with 640 x 480
                stream.width, stream.height = image.size
                sized = True
            drawn = np.asarray(image.resize((stream.width, stream.height)))
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame.pts = round((now - float(seconds[0])) * 90_000)
            frame.time_base = stream.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    if lost:
        log(f"{path}: {lost} frames did not decode and are left out")


class _Band:
    """Draws the band of a moment."""

    def __init__(self, predicted: Predicted, timeline: Timeline, classes: Sequence[str]) -> None:
        from PIL import ImageFont

        self._timeline, self._classes = timeline, classes
        self._attention, windows = predicted.attention, predicted.windows
        attended = sorted(predicted.attention)
        self._windows = [(float(windows.begin[n]), float(windows.end[n]), n) for n in attended]
        self._middles = np.array([(begin + end) / 2 for begin, end, _ in self._windows])
        # Multiples of uniform attention, which has half the height or less.
        multiples = [len(each) * float(each.max()) for each in predicted.attention.values()]
        self._highest = max([2.0, *multiples])
        self._height = LABEL + (CAPTION + ATTENTION if self._windows else 0) + BAR
        self._large = ImageFont.load_default(size=24)
        self._small = ImageFont.load_default(size=13)

    def below(self, picture: Any, now: float) -> Image:
        """Return a frame above the band of a moment in seconds."""
        from PIL import Image, ImageDraw

        image = Image.fromarray(picture.astype(np.uint8))
        scale = -(-LEAST_WIDTH // image.width) if image.width < LEAST_WIDTH else 1
        width, height = (2 * (side * scale // 2) for side in image.size)
        canvas = Image.new("RGB", (width, height + self._height))
        canvas.paste(image.resize((width, height), Image.Resampling.NEAREST))
        draw = ImageDraw.Draw(canvas)
        text, share = self._label(now)
        draw.text((10, height + 6), text, fill=WHITE, font=self._large)
        draw.text((width - 110, height + 6), f"{now:8.2f} s", fill=GREY, font=self._large)
        bottom = height + self._height
        draw.rectangle((0, bottom - BAR, int(width * share), bottom), fill=GREEN)
        self._draw_attention(draw, now, width, height + LABEL)
        return canvas

    def _label(self, now: float) -> tuple[str, float]:
        """Return the text of a moment, and the probability of its class."""
        bounds, slots = self._timeline.bounds, self._timeline.slots
        segments = self._timeline.segments
        label = next((one.label for one in segments if one.begin <= now < one.end), None)
        if label is None:
            return NOTHING, 0.0
        slot = int(np.clip(np.searchsorted(bounds, now, "right") - 1, 0, len(slots) - 1))
        share = float(np.nan_to_num(slots[slot, label]))
        return f"{visible(self._classes[label])}  {100 * share:.0f} %", share

    def _draw_attention(self, draw: ImageDraw, now: float, width: int, top: int) -> None:
        """Draw a bar for each step of the window whose middle is nearest, and the moment."""
        if not self._windows:
            return
        begin, end, number = self._windows[int(np.abs(self._middles - now).argmin())]
        if not begin <= now < end:  # in a gap
            return
        caption = f"attention from {begin:.2f} to {end:.2f} s"
        draw.text((10, top), caption, fill=GREY, font=self._small)
        multiples = len(self._attention[number]) * self._attention[number]
        edges = np.linspace(0, width, len(multiples) + 1).astype(int).tolist()
        bottom = top + CAPTION + ATTENTION - 4
        for left, right, multiple in zip(edges, edges[1:], multiples.tolist(), strict=False):
            high = bottom - (ATTENTION - 4) * multiple / self._highest
            draw.rectangle((left, high, max(left, right - 2), bottom), fill=ORANGE)
        moment = int(width * (now - begin) / (end - begin))
        draw.line((moment, top + CAPTION, moment, bottom), fill=WHITE, width=2)
