"""Select the video stream of a file."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from pipeline.video.opening import open_video


def video_stream(path: Path, container: Any) -> Any:
    """Return the video stream that players show.

    Cover pictures and streams of a single frame do not count. The order is: the default stream,
    the stream with the most pixels, the first stream.

    Raises
    ------
    InputError
        If there is no video stream, or no decoder for it.
    """
    if not container.streams.video:
        raise InputError(f"{path} has no video stream; remove its clips or replace it.")
    stream = _shown(path, container)
    if stream.codec_context is None:
        raise InputError(
            f"{path} cannot be decoded, because FFmpeg has no decoder for its codec"
            f"{_codec_name(container, stream)}; re-encode it or remove its clips."
        )
    return stream


def films(container: Any) -> list[Any]:
    """Return the video streams without cover pictures, or all if there are only these."""
    from av.stream import Disposition

    streams = container.streams.video
    return [s for s in streams if not s.disposition & Disposition.attached_pic] or list(streams)


def _shown(path: Path, container: Any) -> Any:
    from av.stream import Disposition

    streams = films(container)
    if len(streams) > 1:
        with open_video(path) as again:
            frames = Counter(packet.stream_index for packet in again.demux() if packet.size)
        streams = [stream for stream in streams if frames[stream.index] > 1] or streams

    def rank(stream: Any) -> tuple[bool, int]:
        context = stream.codec_context
        pixels = context.width * context.height if context else 0
        return bool(stream.disposition & Disposition.default), pixels

    return max(streams, key=rank)


def _codec_name(container: Any, stream: Any) -> str:
    """Return the codec of a stream from FFmpeg's description of the file, if it is there."""
    import av

    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # the description is a message
    try:
        described = container.dumps_format()
    finally:
        av.logging.set_level(level)
    pattern = rf"Stream #\d+:{stream.index}\D.*?Video: (\w+)(?: \((.{{4}}) / 0x)?"
    match = re.search(pattern, described)
    names = [name for name in match.groups() if name not in (None, "none")] if match else []
    return f", {' or '.join(dict.fromkeys(names))}" if names else ""
