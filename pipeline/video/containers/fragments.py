"""Fragmented MP4: each fragment states its samples' sizes and times, ISO/IEC 14496-12."""

from __future__ import annotations

from mmap import mmap

import numpy as np

from pipeline.video.containers.boxes import Box, named, numbers, signed

SPARE_BYTES = 256  # after a fragment, not part of a sample
# Pictures are decoded at most this many pictures before they are shown.
MOST_AHEAD = 64
BASE, DESCRIPTION, DEFAULT_DURATION, DEFAULT_SIZE = 0x1, 0x2, 0x8, 0x10
DATA_OFFSET, FIRST_FLAGS = 0x1, 0x4
DURATION, SIZE, FLAGS, OFFSET = 0x100, 0x200, 0x400, 0x800

Defaults = dict[int, tuple[int, int]]


def fragments_damage(content: mmap, top: list[Box]) -> str:
    """Return the damage if fragments are missing or contradict their data; otherwise empty.

    Parameters
    ----------
    content : mmap
    top : list of Box
        The top-level boxes.
    """
    moovs = [box for box in top if box.name == b"moov"]
    defaults: Defaults = {}
    for moov in moovs:
        for trex in named(content, moov, b"mvex", b"trex"):
            track, _, duration, size = numbers(content, trex.start + 4, 4)
            defaults[track] = duration, size
    first = next(position for position, box in enumerate(top) if box.name == b"moof")
    groups: list[tuple[Box, int]] = []
    for box in top[first:]:
        if box.name == b"moof":
            groups.append((box, 0))
        elif box.name == b"mdat":
            groups[-1] = groups[-1][0], groups[-1][1] + box.end - box.start
    if any(box.name == b"mdat" for box in top[:first]) and not _samples(content, moovs):
        return "its first fragment is missing"
    for moof, held in groups:
        if damage := _damage(content, moof, held, defaults):
            return damage
    return _missing(content, [moof for moof, _ in groups])


def _samples(content: mmap, moovs: list[Box]) -> int:
    """Return the number of samples outside of fragments."""
    tables = [
        box
        for moov in moovs
        for box in named(content, moov, b"trak", b"mdia", b"minf", b"stbl", b"stsz")
    ]
    return sum(numbers(content, box.start + 8, 1)[0] for box in tables)


def _missing(content: mmap, moofs: list[Box]) -> str:
    """Return the damage if a fragment is missing, judged by mostly consecutive numbers."""
    headers = [box for moof in moofs for box in named(content, moof, b"mfhd")]
    steps = np.diff([numbers(content, box.start + 4, 1)[0] for box in headers])
    uneven = int((steps != 1).sum())
    if len(headers) < len(moofs) or 0 < uneven <= len(steps) / 2:
        return f"some of its {len(moofs)} fragments are missing or repeated"
    return ""


def _damage(content: mmap, moof: Box, held: int, defaults: Defaults) -> str:
    """Return the damage if a fragment's header contradicts its data."""
    stated = 0
    for traf in named(content, moof, b"traf"):
        headers = named(content, traf, b"tfhd")
        if not headers:
            return f"the fragment at byte {moof.start} belongs to no track"
        duration, size = _defaults(content, headers[0], defaults)
        for trun in named(content, traf, b"trun"):
            if (size_of_run := _run(content, trun, duration, size)) < 0:
                return f"the fragment at byte {moof.start} contradicts itself"
            stated += size_of_run
    if abs(held - stated) > SPARE_BYTES:
        return f"the fragment at byte {moof.start} holds {held} bytes but states {stated}"
    return ""


def _defaults(content: mmap, tfhd: Box, defaults: Defaults) -> tuple[int, int]:
    flags, track = numbers(content, tfhd.start, 2)
    duration, size = defaults.get(track, (0, 0))
    offset = tfhd.start + 8 + 8 * (flags & BASE > 0) + 4 * (flags & DESCRIPTION > 0)
    if flags & DEFAULT_DURATION:
        duration, offset = numbers(content, offset, 1)[0], offset + 4
    if flags & DEFAULT_SIZE:
        size = numbers(content, offset, 1)[0]
    return duration, size


def _run(content: mmap, trun: Box, duration: int, size: int) -> int:
    """Return the bytes of a run of samples; -1 if its header is invalid."""
    flags, count = numbers(content, trun.start, 2)
    fields = [field for field in (DURATION, SIZE, FLAGS, OFFSET) if flags & field]
    start = trun.start + 8 + 4 * (flags & DATA_OFFSET > 0) + 4 * (flags & FIRST_FLAGS > 0)
    if trun.end - start != 4 * count * len(fields):
        return -1
    table = np.frombuffer(content[start : trun.end], ">u4").astype(np.int64)
    columns = dict(zip(fields, table.reshape(count, len(fields)).T, strict=True))
    longest = int(columns.get(DURATION, np.array([duration])).max(initial=0))
    if OFFSET in columns and count and np.ptp(signed(columns[OFFSET])) > MOST_AHEAD * longest:
        return -1
    return int(columns[SIZE].sum()) if SIZE in columns else size * count
