"""Which of a file's video streams is the video."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from pipeline.video.opening import open_video


def video_stream(path: Path, container: Any) -> Any:
    """Return the video stream that players show.

    Of those that are no cover picture and more than a single frame, that is the one which the file
    marks as its default, then the one with the most pixels, then the first.

    Raises
    ------
    InputError
        If there is none, or nothing decodes it.
    """
    if not container.streams.video:
        raise InputError(f"{path} has no video stream; remove its clips or replace it.")
    stream = _shown(path, container)
    if stream.codec_context is None:
        raise InputError(
            f"{path} cannot be decoded, for FFmpeg has no decoder for its codec"
            f"{_codec_name(container, stream)}; re-encode it or remove its clips."
        )
    return stream


def films(container: Any) -> list[Any]:
    """Return the video streams that are no cover pictures, or all if there is no other."""
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
    """Return what FFmpeg's description of a file calls the codec of a stream, if it knows."""
    import av

    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # the description is a message
    try:
        described = container.dumps_format()
    finally:
        av.logging.set_level(level)
    pattern = rf"Stream #\d+:{stream.index}\D.*?Video: (\w+)(?: \((.{{4}}) / 0x)?"
    found = re.search(pattern, described)
    names = [name for name in found.groups() if name not in (None, "none")] if found else []
    return f", {' or '.join(dict.fromkeys(names))}" if names else ""
