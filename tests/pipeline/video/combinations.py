"""The combinations of codec, container and fault that are tried, and what comes of each.

`python -m tests.pipeline.video.combinations` writes the summary into docs/decoding.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from tests.folders import DOCS
from tests.pipeline.video.codings import CODINGS, IMAGES, STAMPED_CODECS

EQUAL, FOLDER = "equal", "folder"
DOCUMENT = DOCS / "decoding.md"
BEGIN, END = "<!-- combinations -->", "<!-- end of combinations -->"


@dataclass(frozen=True)
class Combination:
    """One file that is encoded and read.

    Attributes
    ----------
    coding : str
        A key of `CODINGS`.
    container : str
        A key of `CONTAINERS`.
    fault : str
        What is done to the file; empty for nothing.
    """

    coding: str
    container: str
    fault: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.coding, self.container, self.fault]))


# What is done to a file, packet by packet, and to which.
EVERY, SHIFTED, NONE = "every frame flagged", "frames behind key frames flagged", "no frame flagged"
OF_DECODING = "time stamps of decoding"
COPIED = "copied from AVI"
# Options for ffmpeg to copy a file with: those before its name, and those behind it.
CUT = "cut by an edit list"
TURNS = {
    **{f"turned by {turn}": f"-display_rotation {turn}" for turn in (90, 180, 270)},
    "mirrored": "-display_hflip",
    "upside down": "-display_vflip",
    "turned by 90 and mirrored": "-display_rotation 90 -display_hflip",
    "turned by 45": "-display_rotation 45",
}
BEHIND = "without its first half"
RECIPES = {COPIED: "-fflags +genpts", CUT: "-ss 0.3"} | TURNS
WRONG_FLAGS = {
    "h264, open groups": "mp4 mkv flv fragmented",
    "h264, refreshed in parts": "mp4 mkv",
    "hevc, open groups": "mp4 mkv fragmented",
    "mpeg4, B-frames": "mp4 mkv avi",
    "mpeg4, unpacked": "avi",
    "mpeg2, open groups": "mp4 mkv",
    "mpeg1, B-frames": "mp4",
    "msmpeg4v2, a key frame every 12": "avi",
    "msmpeg4v3, a key frame every 12": "avi",
    "wmv1, a key frame every 12": "avi",
    "wmv2, a key frame every 12": "avi",
    "h263, a key frame every 12": "avi 3gp",
    "h263+, a key frame every 12": "avi",
    "flv1, a key frame every 12": "flv avi",
    "vp8, hidden frames": "webm",
    "vp9, hidden frames": "webm mp4",
    "av1, hidden frames": "webm mp4",
    "theora, a key frame every 12": "mkv",
    "ffv1, a key frame every 5": "mkv avi",
    "qtrle": "mov",
    "svq1": "mov",
    "cinepak": "avi",
}

TIMES_OF_DECODING = {
    "h264, B-frames": "mp4 mkv flv",
    "h264, open groups": "mp4 mkv",
    "h264, a key frame every 5": "mp4",
    "hevc, closed groups": "mp4 mkv",
    "mpeg4, B-frames": "mp4 mkv nut",
    "mpeg2, open groups": "mp4 mkv",
    "mpeg1, B-frames": "mp4",
}
COPIES = {
    "mpeg4, packed B-frames": "mp4 mov mkv nut",
    "mpeg4, packed single B-frames": "mp4 mov mkv nut",
    "mpeg4, unpacked": "mp4 mkv",
    "mpeg4, XviD without B-frames": "mp4 mkv",
    "msmpeg4v3, a key frame every 12": "mkv",
    "h264, open groups": "mp4 mkv",
}

CUTS = {
    "h264, B-frames": "mp4 mov fragmented",
    "h264, open groups": "mp4 mov",
    "hevc, open groups": "mp4 mov",
    "mpeg4, B-frames": "mp4 mov",
    "h264, one key frame": "mp4",
}
HALVES = {
    "h264, B-frames": "ts",
    "h264, open groups": "ts",
    "h264, refreshed in parts": "ts",
    "hevc, closed groups": "ts",
    "hevc, open groups": "ts",
    "mpeg2, open groups": "ts",
    "mpeg2, closed groups": "ts",
    "mpeg1, B-frames": "ts",
    "mpeg4, B-frames": "ts",
}
TURNED = {"h264, B-frames": "mp4 mov mkv", "mpeg4, B-frames": "mp4"}

# What is refused, and a part of the sentence that says why; all others are equal.
FFMPEG_TOO = "frame 0 did not decode (Invalid argument)"
HEVC = ("hevc, only key frames", "hevc, closed groups", "hevc, open groups")
MIRRORED = ("mirrored", "upside down", "turned by 90 and mirrored")
REFUSED: dict[Combination, str] = {
    **{Combination(coding, "avi"): FFMPEG_TOO for coding in HEVC},
    **{
        Combination(f"{codec}, at a variable rate", "ts"): "frames are missing after frame"
        for codec in STAMPED_CODECS
    },
    **{Combination("h264, B-frames", "mkv", turn): "it is mirrored" for turn in MIRRORED},
    **{
        Combination(coding, container, "turned by 45"): "it is rotated by 315"
        for coding, containers in TURNED.items()
        for container in containers.split()
    },
    **{
        Combination(coding, "ts", BEHIND): reason
        for coding, reason in {
            "h264, refreshed in parts": "frame 0 did not decode",
            "hevc, open groups": "frame 0 did not decode",
            "mpeg2, open groups": "frames are missing after frame",
            "mpeg1, B-frames": "frames are missing after frame",
            "mpeg4, B-frames": "frame 1 did not decode",
        }.items()
    },
}


def combinations() -> Iterator[Combination]:
    """Yield every combination that is tried."""
    for coding, (_, containers) in CODINGS.items():
        for container in containers.split():
            yield Combination(coding, container)
    yield from (Combination(coding, FOLDER) for coding in IMAGES)
    for coding, containers in WRONG_FLAGS.items():
        for container, fault in itertools.product(containers.split(), (EVERY, SHIFTED, NONE)):
            yield Combination(coding, container, fault)
    tables = [(TIMES_OF_DECODING, OF_DECODING), (COPIES, COPIED), (CUTS, CUT), (HALVES, BEHIND)]
    for table, fault in [*tables, *((TURNED, turn) for turn in TURNS)]:
        for coding, containers in table.items():
            yield from (Combination(coding, container, fault) for container in containers.split())


def summary() -> str:
    """Return the table of combinations and outcomes as Markdown."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for combination in combinations():
        reason = REFUSED.get(combination)
        outcome = f"refused: {reason}" if reason else EQUAL
        key = (combination.coding, combination.fault or "as encoded", outcome)
        rows.setdefault(key, []).append(combination.container)
    count = sum(map(len, rows.values()))
    lines = [f"{count} combinations, {len(REFUSED)} of them refused:", ""]
    lines += ["| coding | file | containers | outcome |", "| --- | --- | --- | --- |"]
    for (coding, fault, outcome), containers in rows.items():
        lines.append(f"| {coding} | {fault} | {', '.join(containers)} | {outcome} |")
    return "\n".join(lines)


def documented(text: str) -> str:
    """Return the text of the documentation with the summary of today in its place."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{summary()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    DOCUMENT.write_text(documented(DOCUMENT.read_text()))
