"""Files that lost a part: every frame that is yielded is the right one, or the file is refused."""

from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.video.decode import Lost, decode_all
from pipeline.video.index import read_index
from tests.videos import GOP_8, KINDS, luma, textured, write_video


def right_or_lost(path: Path, expected: dict[int, np.ndarray]) -> tuple[int, int]:
    """Count the frames that are yielded, each of which must be right, and those that are lost."""
    index = read_index(path)
    right = lost = 0
    for found in decode_all(path, index, np.arange(len(index)), "luma"):
        if isinstance(found, Lost):
            lost += len(found.frames)
        else:
            np.testing.assert_array_equal(found[1], expected[found[0]])
            right += 1
    assert right + lost == len(index)
    return right, lost


def zeroed(content: bytes, share: float) -> bytes:
    first, length = int(share * len(content)), int(0.08 * len(content))
    return content[:first] + bytes(length) + content[first + length :]


def written(path: Path, kind: str) -> tuple[Path, dict[int, np.ndarray]]:
    name, options = KINDS[kind]
    path = write_video(path / name, textured(30), **options)
    return path, luma(path, read_index(path), list(range(30)))


COUNTED_NOWHERE = ("alone", "hevc, open in hevc", "in m2v", "refreshed", "av1", "in asf")


@pytest.mark.parametrize("kind", [k for k in KINDS if not any(c in k for c in COUNTED_NOWHERE)])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_zeros_in_the_middle(tmp_path: Path, kind: str, share: float) -> None:
    path, expected = written(tmp_path, kind)
    path.write_bytes(zeroed(path.read_bytes(), share))
    with suppress(InputError):
        right, lost = right_or_lost(path, expected)
        assert right
        assert lost


STATED = ("mp4", "mov", "mkv", "webm", "avi", "flv", "fragments")


@pytest.mark.parametrize("kind", [k for k in KINDS if k.rpartition(" ")[2] in STATED])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_what_states_its_end_is_refused_if_cut_off(tmp_path: Path, kind: str, share) -> None:
    path, _ = written(tmp_path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"is truncated|is damaged|cannot be read as a video"):
        read_index(path)


@pytest.mark.parametrize("kind", ["h264 in ts", "mpeg2, open in ts"])
def test_a_transport_stream_that_ends_within_a_packet(tmp_path: Path, kind: str) -> None:
    path, _ = written(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is truncated: its last part is missing"):
        read_index(path)


@pytest.mark.parametrize("kind", ["h264 in nut", "h264 in mpeg-ps", "mpeg4, B in wmv"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_what_states_no_end_is_a_shorter_video(tmp_path: Path, kind: str, share: float) -> None:
    path, expected = written(tmp_path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with suppress(InputError):
        right, _ = right_or_lost(path, expected)
        assert 0 < right < 30


def test_a_lost_packet_of_a_transport_stream(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "h264 in ts")
    content = path.read_bytes()
    middle = len(content) // 2 // 188 * 188
    path.write_bytes(content[:middle] + content[middle + 188 :])
    with pytest.raises(InputError, match="is damaged: packets of the video are missing"):
        read_index(path)


@pytest.mark.parametrize(
    ("name", "last", "reason"),
    [
        ("a.mkv", 24, "frames are missing after frame 19, at 0.6"),
        ("a.flv", 24, r"no tag begins at byte \d+"),
        ("a.nut", 24, r"byte \d+ begins no frame"),
        ("a.avi", 21, r"no chunk begins at byte \d+"),
    ],
)
def test_lost_frames_between_others(tmp_path: Path, name: str, last: int, reason: str) -> None:
    short = {"cluster_time_limit": "500"} if name == "a.mkv" else {}
    codec = "mpeg4" if name == "a.avi" else "libx264"
    path = write_video(tmp_path / name, textured(60), codec=codec, container=short)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    content[places[20] - 8 : places[last]] = bytes(places[last] - places[20] + 8)
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"damaged: {reason}"):
        read_index(path)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9"])
def test_a_block_of_zeros_within_a_frame(tmp_path: Path, codec: str) -> None:
    options = {"libx264": GOP_8, "libx265": {"x265-params": "qp=2:keyint=8:log-level=none"}}
    vp9 = {"crf": "4", "g": "8", "cpu-used": "8"}
    path = write_video(
        tmp_path / "a.mp4", textured(30), codec=codec, options=options.get(codec, vp9)
    )
    index = read_index(path)
    expected = luma(path, index, list(range(30)))
    with av.open(str(path)) as container:
        hit = next(p for p in container.demux(video=0) if p.pts == index.pts[index.keys[1]])
    content = bytearray(path.read_bytes())
    content[hit.pos + hit.size - 200 : hit.pos + hit.size - 100] = bytes(100)
    path.write_bytes(content)
    right, lost = right_or_lost(path, expected)
    assert lost >= index.keys[2] - index.keys[1]
    assert right >= index.keys[1]


@pytest.mark.parametrize(
    ("kind", "old", "new", "named"),
    [
        ("h264 in mp4", b"avc1", b"zzzz", ", zzzz;"),
        ("h264 in mp4", b"avc1", b"evc1", ", evc or evc1;"),
        ("mpeg4 in avi", b"FMP4", b"ZZZZ", ", ZZZZ;"),
        ("wmv2 in wmv", b"WMV2", b"ZZZZ", ", ZZZZ;"),
        ("h264 in mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XXX", ";"),
    ],
)
def test_a_missing_codec_is_named(tmp_path: Path, kind: str, old, new, named: str) -> None:
    path, _ = written(tmp_path, kind)
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(InputError, match=rf"decoder.*codec{named}"):
        read_index(path)
    assert av.logging.get_level() is None


@pytest.mark.parametrize(
    "kind", ["h264 in mp4", "h264 in mkv", "mpeg2, open in mpg", "vp9 in webm"]
)
@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".txt", ""])
def test_a_wrong_suffix_does_not_matter(tmp_path: Path, kind: str, suffix: str) -> None:
    path, expected = written(tmp_path, kind)
    other = path.rename(tmp_path / f"other{suffix}")
    assert right_or_lost(other, expected) == (30, 0)
