"""Check containers for damage directly, because FFmpeg repairs it silently.

A lost page or packet changes the number of every later frame, so the video is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore.errors import InputError
from pipeline.video.containers.asf import asf_damage
from pipeline.video.containers.avi import avi_damage
from pipeline.video.containers.flv import flv_damage
from pipeline.video.containers.matroska import matroska_damage
from pipeline.video.containers.mp4 import mp4_damage
from pipeline.video.containers.mpegts import mpegts_damage
from pipeline.video.containers.nut import nut_damage
from pipeline.video.containers.ogg import ogg_damage

if TYPE_CHECKING:
    from pipeline.video.packets import Packets

# FFmpeg joins a packet of this codec to the previous one if its start code is damaged.
JOINED = "mpeg4"


def check_container(path: Path, kind: str, stream: Any, packets: Packets) -> None:
    """Refuse a file if its structure shows that data are missing or were inserted.

    Parameters
    ----------
    path : Path
    kind : str
        FFmpeg's name of the format.
    stream : av.video.stream.VideoStream
    packets : Packets
        As FFmpeg read them.

    Raises
    ------
    InputError
    """
    filled = packets.filled if stream.codec_context.name == JOINED else None
    with path.open("rb") as file:
        if kind == "ogg":
            damage = ogg_damage(file)
        elif kind == "mpegts":
            damage = mpegts_damage(file, stream.id, packets)
        elif "mp4" in kind:
            damage = mp4_damage(file)
        elif kind == "avi":
            damage = avi_damage(file, stream.index, packets.filled)
        elif kind == "flv":
            damage = flv_damage(file)
        elif kind == "asf":
            damage = asf_damage(file, stream.id, filled)
        elif kind == "nut":
            damage = nut_damage(file, stream.index, filled)
        elif "matroska" in kind:
            damage = matroska_damage(file)
        else:
            damage = ""
    if damage:
        raise InputError(f"{path} is damaged: {damage}; replace it or remove its clips.")
