"""MP4 and MOV: tables of samples that must agree, ISO/IEC 14496-12."""

from __future__ import annotations

from mmap import mmap
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.video.containers.boxes import (
    HEAD,
    Box,
    boxes,
    inside,
    is_name,
    named,
    numbers,
    signed,
)
from pipeline.video.containers.fragments import MOST_AHEAD, fragments_damage
from pipeline.video.containers.mapped import mapped

# Numbers in a row of each table, and the tables that every track needs.
WIDTHS = {b"stts": 2, b"ctts": 2, b"stsc": 3, b"stco": 1, b"co64": 2}
NEEDED = ({b"stts"}, {b"stsc"}, {b"stsz", b"stz2"}, {b"stco", b"co64"})


def mp4_damage(file: BinaryIO) -> str:
    """Return the damage in a file's boxes and tables; empty if there is none."""
    with mapped(file) as content:
        top = list(boxes(content, 0, len(content)))
        if any(box.name == b"moof" for box in top):
            if wrong := next((box for box in top if not is_name(box.name)), None):
                return f"no box begins at byte {wrong.start - HEAD}"
            return fragments_damage(content, top)
        tracks = [
            track
            for box in top
            if box.name == b"moov"
            for track in named(content, box, b"trak")
            if _is_video(content, track)
        ]
        damages = [_track_damage(content, track) for track in tracks]
    return next(filter(None, damages), "" if tracks else "its tables of frames cannot be found")


def _is_video(content: mmap, track: Box) -> bool:
    handlers = named(content, track, b"mdia", b"hdlr")
    return any(content[box.start + 8 : box.start + 12] == b"vide" for box in handlers)


def _track_damage(content: mmap, track: Box) -> str:
    """Return the damage if a video's tables are truncated or contradict each other."""
    parents = named(content, track, b"mdia", b"minf", b"stbl")
    tables = {box.name: box for parent in parents for box in inside(content, parent)}
    if not all(names & tables.keys() for names in NEEDED):
        return "one of its tables of frames is missing"
    if not all(is_name(name) and _is_filled(content, box) for name, box in tables.items()):
        return "one of its tables of frames is truncated"
    if b"stsz" not in tables:
        return ""
    (count,) = numbers(content, tables[b"stsz"].start + 8, 1)
    rows = {name: _rows(content, tables[name]) for name in WIDTHS if name in tables}
    steps, shifts = rows[b"stts"], rows.get(b"ctts", np.zeros((0, 2), np.int64))
    if steps[:, 0].sum() < count or (len(shifts) and shifts[:, 0].sum() != count):
        return f"its table of times does not match its {count} frames"
    chunks = sum(len(rows[name]) for name in (b"stco", b"co64") if name in rows)
    if count and _in_chunks(rows[b"stsc"], chunks) != count:
        return f"its table of chunks does not match its {count} frames"
    longest = int(steps[:, 1].max(initial=0))
    if len(shifts) and np.ptp(signed(shifts[:, 1])) > MOST_AHEAD * longest:
        return "its presentation times are far from its decoding times"
    return ""


def _is_filled(content: mmap, box: Box) -> bool:
    """Tell whether a table has as many rows as it states, and only zeros as padding."""
    width = WIDTHS.get(box.name)
    if width is None:
        return True
    end = box.start + 8 + 4 * width * numbers(content, box.start + 4, 1)[0]
    return end <= box.end and not any(content[end : box.end])


def _rows(content: mmap, box: Box) -> NDArray[np.int64]:
    """Return the numbers of a table, shape (rows, columns)."""
    (count,) = numbers(content, box.start + 4, 1)
    width = WIDTHS[box.name]
    data = content[box.start + 8 : box.start + 8 + 4 * width * count]
    return np.frombuffer(data, ">u4").astype(np.int64).reshape(count, width)


def _in_chunks(runs: NDArray[np.int64], chunks: int) -> int:
    """Return the number of samples in chunks; -1 if the runs of chunks are out of order."""
    firsts = np.append(runs[:, 0], chunks + 1)
    if not len(runs) or firsts[0] != 1 or (np.diff(firsts) <= 0).any():
        return -1
    return int((np.diff(firsts) * runs[:, 1]).sum())
