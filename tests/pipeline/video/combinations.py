"""The combinations of codec, container and fault that are tried, and what comes of each.

`python -m tests.pipeline.video.combinations` writes the summary into docs/decoding.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

EQUAL = "equal"
DOCUMENT = Path(__file__).parents[3] / "docs" / "decoding.md"
BEGIN, END = "<!-- combinations -->", "<!-- end of combinations -->"


class Coding(NamedTuple):
    """How ffmpeg encodes: its options, and the containers that it is written to."""

    options: str
    containers: str


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


# A suffix, and options of the muxer where they are no default.
CONTAINERS = {
    **{name: (name, "") for name in ("mp4", "mov", "mkv", "webm", "avi", "ts", "mpg", "flv")},
    **{name: (name, "") for name in ("ogv", "wmv", "nut", "3gp", "gif")},
    "fragmented": ("mp4", "-movflags frag_keyframe+empty_moov"),
}

X264 = "-c:v libx264 -crf 15 -x264-params scenecut=0:b-adapt=0"
X265 = "-c:v libx265 -x265-params log-level=none:pools=none:frame-threads=1:crf=12:scenecut=0"
MPEG = "-q:v 3 -sc_threshold 1000000000"
VPX = "-deadline good -cpu-used 5 -crf 15 -b:v 1M -lag-in-frames 10 -auto-alt-ref"
H264_FILES = "mp4 mov mkv avi ts mpg flv wmv fragmented"
HEVC_FILES = "mp4 mov mkv avi ts flv fragmented"
MPEG4_FILES = "mp4 mov mkv avi ts wmv nut fragmented"

CODINGS = {
    "h264, only key frames": Coding(f"{X264} -g 1", H264_FILES),
    "h264, a key frame every 5": Coding(f"{X264}:keyint=5:min-keyint=5:bframes=0", H264_FILES),
    "h264, B-frames": Coding(f"{X264}:keyint=12:min-keyint=12:bframes=2", H264_FILES),
    "h264, open groups": Coding(
        f"{X264}:keyint=12:min-keyint=12:bframes=5:b-pyramid=normal:open-gop=1", H264_FILES
    ),
    "h264, refreshed in parts": Coding(f"{X264}:keyint=12:intra-refresh=1", "mp4 mkv ts flv"),
    "h264, one key frame": Coding(f"{X264}:keyint=1000:bframes=2", "mp4 mkv avi ts"),
    "h264, 10 bits": Coding(f"{X264}:keyint=12 -pix_fmt yuv420p10le", "mp4 mkv ts"),
    "hevc, only key frames": Coding(f"{X265}:keyint=1", HEVC_FILES),
    "hevc, closed groups": Coding(f"{X265}:keyint=5:min-keyint=5:bframes=2:open-gop=0", HEVC_FILES),
    "hevc, open groups": Coding(f"{X265}:keyint=12:min-keyint=12:bframes=3:open-gop=1", HEVC_FILES),
    "hevc, one key frame": Coding(f"{X265}:keyint=1000", "mp4 mkv ts"),
    "hevc, 10 bits": Coding(f"{X265}:keyint=12 -pix_fmt yuv420p10le", "mp4 mkv"),
    "mpeg4, a key frame every 5": Coding(f"-c:v mpeg4 {MPEG} -g 5", MPEG4_FILES),
    "mpeg4, B-frames": Coding(f"-c:v mpeg4 {MPEG} -g 12 -bf 2", MPEG4_FILES),
    "mpeg4, closed groups": Coding(f"-c:v mpeg4 {MPEG} -g 12 -bf 2 -flags +cgop", MPEG4_FILES),
    "mpeg4, one key frame": Coding(f"-c:v mpeg4 {MPEG} -g 1000", "mp4 mkv avi"),
    "mpeg4, packed B-frames": Coding("-c:v libxvid -q:v 3 -g 12 -bf 2", "avi"),
    "mpeg4, packed single B-frames": Coding("-c:v libxvid -q:v 3 -g 12 -bf 1", "avi"),
    "mpeg4, XviD without B-frames": Coding("-c:v libxvid -q:v 3 -g 12", "avi mp4 mkv"),
    "mpeg4, unpacked": Coding("-c:v libxvid -q:v 3 -g 12 -bf 2 -bsf:v mpeg4_unpack_bframes", "avi"),
    **{
        f"{name}, a key frame every {gop}": Coding(f"-c:v {codec} {MPEG} -g {gop}", containers)
        for (name, codec, containers), gop in itertools.product(
            [
                ("msmpeg4v2", "msmpeg4v2", "avi mkv wmv"),
                ("msmpeg4v3", "msmpeg4", "avi mkv wmv"),
                ("wmv1", "wmv1", "avi mkv wmv"),
                ("wmv2", "wmv2", "avi mkv wmv"),
                ("h263", "h263 -s 128x96", "avi mov 3gp mkv"),
                ("h263+", "h263p", "avi mov mkv"),
                ("flv1", "flv", "flv avi mkv"),
            ],
            (5, 12),
        )
    },
    "mpeg1, a key frame every 5": Coding(f"-c:v mpeg1video {MPEG} -g 5", "mpg ts mkv avi mp4"),
    "mpeg1, B-frames": Coding(f"-c:v mpeg1video {MPEG} -g 12 -bf 2", "mpg ts mkv avi mp4"),
    "mpeg2, a key frame every 5": Coding(f"-c:v mpeg2video {MPEG} -g 5", "mpg ts mkv avi mp4"),
    "mpeg2, open groups": Coding(f"-c:v mpeg2video {MPEG} -g 12 -bf 2", "mpg ts mkv avi mp4"),
    "mpeg2, closed groups": Coding(
        f"-c:v mpeg2video {MPEG} -g 12 -bf 2 -flags +cgop", "mpg ts mkv avi mp4"
    ),
    "vp8, a key frame every 5": Coding(f"-c:v libvpx {VPX} 0 -g 5", "webm mkv avi"),
    "vp8, hidden frames": Coding(f"-c:v libvpx {VPX} 1 -g 12", "webm mkv avi"),
    "vp9, a key frame every 5": Coding(f"-c:v libvpx-vp9 {VPX} 0 -g 5", "webm mkv mp4 avi"),
    "vp9, hidden frames": Coding(f"-c:v libvpx-vp9 {VPX} 1 -g 12", "webm mkv mp4 avi"),
    "vp9, hidden frames apart": Coding(
        f"-c:v libvpx-vp9 {VPX} 1 -g 12 -bsf:v vp9_superframe_split", "webm mkv"
    ),
    "av1, a key frame every 5": Coding(
        "-c:v libaom-av1 -usage realtime -cpu-used 8 -crf 20 -g 5", "mp4 mkv webm fragmented"
    ),
    "av1, hidden frames": Coding(
        "-c:v libaom-av1 -cpu-used 8 -crf 20 -g 12 -lag-in-frames 12",
        "mp4 mkv webm fragmented",
    ),
    "theora, a key frame every 5": Coding("-c:v libtheora -q:v 9 -g 5", "ogv mkv"),
    "theora, a key frame every 12": Coding("-c:v libtheora -q:v 9 -g 12", "ogv mkv"),
    "mjpeg": Coding("-c:v mjpeg -q:v 3 -pix_fmt yuvj420p", "avi mov mkv mp4"),
    "ffv1, only key frames": Coding("-c:v ffv1 -g 1", "mkv avi mov"),
    "ffv1, a key frame every 5": Coding("-c:v ffv1 -g 5", "mkv avi mov"),
    "prores": Coding("-c:v prores_ks -pix_fmt yuv422p10le", "mov mkv"),
    "rawvideo": Coding("-c:v rawvideo", "avi mkv nut"),
    "huffyuv": Coding("-c:v huffyuv -pix_fmt yuv422p", "avi mkv"),
    "png": Coding("-c:v png -pix_fmt rgb24", "avi mov mkv"),
    "gif": Coding("-c:v gif -pix_fmt rgb8", "gif"),
    "qtrle": Coding("-c:v qtrle -g 5 -pix_fmt rgb24", "mov"),
    "svq1": Coding("-c:v svq1 -q:v 3 -g 5 -pix_fmt yuv410p", "mov"),
    "cinepak": Coding("-c:v cinepak -g 5 -pix_fmt rgb24", "avi mov"),
}

# What is done to a file, packet by packet, and to which.
EVERY, SHIFTED, NONE = "every frame flagged", "frames behind key frames flagged", "no frame flagged"
OF_DECODING = "time stamps of decoding"
COPIED = "copied from AVI"
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

# What is refused, and a part of the sentence that says why; all others are equal.
FFMPEG_TOO = "frame 0 did not decode (Invalid argument)"
REFUSED: dict[Combination, str] = {
    Combination(coding, "avi"): FFMPEG_TOO
    for coding in ("hevc, only key frames", "hevc, closed groups", "hevc, open groups")
}


def combinations() -> Iterator[Combination]:
    """Yield every combination that is tried."""
    for coding, (_, containers) in CODINGS.items():
        for container in containers.split():
            yield Combination(coding, container)
    for coding, containers in WRONG_FLAGS.items():
        for container, fault in itertools.product(containers.split(), (EVERY, SHIFTED, NONE)):
            yield Combination(coding, container, fault)
    for table, fault in ((TIMES_OF_DECODING, OF_DECODING), (COPIES, COPIED)):
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
