"""Add light and noise to clean pictures, as an infrared camera does, and encode them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from pipeline.demo.activities import FPS
from pipeline.demo.canvas import HEIGHT, WIDTH, GreyImage
from pipeline.demo.people import Camera

Field = npt.NDArray[np.float32]


class Sensor:
    """Adds light, response and noise to clean pictures.

    Parameters
    ----------
    camera : Camera
    rng : numpy.random.Generator
        Source of the noise, drawn from once a frame.
    """

    def __init__(self, camera: Camera, rng: np.random.Generator) -> None:
        self._rng = rng
        self._noise = np.float32(camera.noise / 255)
        self._light = _light(camera)
        fixed = np.random.default_rng(camera.seed + 1)
        self._pattern = (
            fixed.normal(0, 0.006, (HEIGHT, WIDTH)) + fixed.normal(0, 0.005, (1, WIDTH))
        ).astype(np.float32)
        levels = np.linspace(0, 1, 256) ** camera.gamma * camera.gain
        self._response = levels.astype(np.float32)

    def expose(self, clean: GreyImage) -> GreyImage:
        """Return the luma plane, limited range (16 to 235), of one noisy frame."""
        flicker = np.float32(1 + 0.012 * self._rng.standard_normal())
        signal = self._response[clean] * self._light * flicker
        grain = self._rng.standard_normal(signal.shape, dtype=np.float32)
        # Shot noise grows with the root of the light, read noise is always there.
        signal += grain * (self._noise + np.float32(0.013) * np.sqrt(signal)) + self._pattern
        return (np.float32(16.5) + np.float32(219) * signal.clip(0, 1)).astype(np.uint8)


def _light(camera: Camera) -> Field:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot((x - camera.lamp[0]) / WIDTH, (y - camera.lamp[1]) / HEIGHT)
    light = 1.06 - camera.falloff * np.minimum(distance / 0.75, 1.2) ** 2
    return np.asarray(light, dtype=np.float32)


def write_video(path: Path, frames: Iterable[GreyImage]) -> None:
    """Encode luma planes as H.264, yuv420p, limited range, a key frame a second.

    Parameters
    ----------
    path : Path
        The MP4 file to write.
    frames : iterable of ndarray
        ``(HEIGHT, WIDTH)`` uint8 each.
    """
    # One thread: with more, the bytes would depend on the machine.
    options = {"preset": "veryfast", "crf": "22", "x264-params": "threads=1:scenecut=0:bframes=0"}
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = FPS
        stream.codec_context.thread_count = 1
        # Without a named colour space the encoder would leave the range out of the file.
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        stream.codec_context.time_base = Fraction(1, FPS)
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, dtype=np.uint8)
        for number, luma in enumerate(frames):
            planes[:HEIGHT] = luma
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            frame.color_range = ColorRange.MPEG
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
