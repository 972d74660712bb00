"""Damage that a container can show: no frame is ever yielded under the number of another."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.video.containers.asf import DATA, PROPERTIES, _payloads
from pipeline.video.containers.nut import SYNCPOINT
from pipeline.video.containers.ogg import MAGIC, checksum
from pipeline.video.decode import Lost, decode_all
from pipeline.video.index import read_index
from tests.faults.videos import mutation, other_frame
from tests.videos import B_MPEG, FRAGMENTS, GOP_8, MPEG, VP8, luma, write_video

FRAMES = 40
TRIALS = 12
FAST = {"movflags": "faststart"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "ogg": ("a.ogg", {"codec": "libvpx", "options": VP8 | {"auto-alt-ref": "0"}}),
    "ts": ("a.ts", {"options": GOP_8}),
    "mpeg2 in ts": ("a.ts", {"codec": "mpeg2video", "options": B_MPEG}),
    "fragments": ("a.mp4", {"options": GOP_8, "container": FRAGMENTS}),
    "mov": ("a.mov", {"options": GOP_8}),
    "mp4": ("a.mp4", {"options": GOP_8, "container": FAST}),
    "h264 in avi": ("a.avi", {"options": GOP_8}),
    "mjpeg in avi": ("a.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p", "options": MPEG}),
    "flv": ("a.flv", {"options": GOP_8}),
    "mkv": ("a.mkv", {"options": GOP_8}),
    "wmv2 in wmv": ("a.wmv", {"codec": "wmv2", "options": MPEG}),
    "mpeg4 in wmv": ("a.wmv", {"codec": "mpeg4", "options": MPEG}),
    "msmpeg4 in wmv": ("a.wmv", {"codec": "msmpeg4", "options": MPEG}),
    "mpeg4 in nut": ("a.nut", {"codec": "mpeg4", "options": MPEG}),
    "h264 in nut": ("a.nut", {"options": GOP_8}),
    "rawvideo in nut": ("a.nut", {"codec": "rawvideo"}),
}


def squares(frames: int) -> np.ndarray:
    """Pictures of grey squares, none like another."""
    values = np.random.default_rng(0).integers(30, 220, (frames, 6, 8))
    return values.repeat(8, 1).repeat(8, 2).astype(np.uint8)


def written(folder: Path, kind: str, **muxing: str) -> tuple[Path, np.ndarray]:
    """Write a video; return it and what it decodes to."""
    name, options = KINDS[kind]
    options = options | {"container": options.get("container", {}) | muxing}
    path = write_video(folder / name, squares(FRAMES), **options)
    pictures = luma(path, read_index(path), list(range(FRAMES)))
    return path, np.stack([pictures[number] for number in range(FRAMES)])


def misplaced(path: Path, clean: np.ndarray) -> list[int]:
    """Return the frames that are yielded under the number of another."""
    index = read_index(path)
    expected = dict(enumerate(clean))
    frames = decode_all(path, index, np.arange(len(index)), "luma")
    shown = [frame for frame in frames if not isinstance(frame, Lost)]
    return [
        number for number, picture in shown if other_frame(number, picture, expected) is not None
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_no_frame_takes_the_number_of_another(tmp_path: Path, kind: str) -> None:
    path, clean = written(tmp_path, kind)
    content = path.read_bytes()
    refused = 0
    for trial in range(TRIALS):
        path.write_bytes(mutation(content, np.random.default_rng([len(kind), trial]))[0])
        try:
            assert misplaced(path, clean) == [], trial
        except InputError:
            refused += 1
    assert refused > 1


def pages(content: bytes) -> list[bytes]:
    return [MAGIC + part for part in content.split(MAGIC)[1:]]


class TestOgg:
    def test_the_checksum(self, tmp_path: Path) -> None:
        path, _ = written(tmp_path, "ogg")
        for page in pages(path.read_bytes()):
            assert checksum(page) == int.from_bytes(page[22:26], "little")

    @pytest.mark.parametrize("change", ["flip", "cut", "repeat", "swap"])
    def test_a_page(self, tmp_path: Path, change: str) -> None:
        path, _ = written(tmp_path, "ogg")
        parts = pages(path.read_bytes())
        middle = len(parts) // 2
        if change == "flip":
            parts[middle] = parts[middle][:-1] + bytes([parts[middle][-1] ^ 1])
        elif change == "cut":
            del parts[middle]
        elif change == "repeat":
            parts.insert(middle, parts[middle])
        else:
            parts[middle - 1 : middle + 1] = parts[middle - 1 : middle + 1][::-1]
        path.write_bytes(b"".join(parts))
        with pytest.raises(InputError, match="pages are missing or repeated"):
            read_index(path)

    def test_the_last_page(self, tmp_path: Path) -> None:
        path, _ = written(tmp_path, "ogg")
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match="its last page is missing"):
            read_index(path)

    def test_what_follows_the_last_page(self, tmp_path: Path) -> None:
        path, clean = written(tmp_path, "ogg")
        path.write_bytes(path.read_bytes() + bytes(1000))
        assert misplaced(path, clean) == []
        assert len(read_index(path)) == FRAMES


class TestTransportStream:
    @pytest.mark.parametrize("kind", ["ts", "mpeg2 in ts"])
    def test_the_head_of_a_frame(self, tmp_path: Path, kind: str) -> None:
        path, _ = written(tmp_path, kind)
        content = bytearray(path.read_bytes())
        head = content.index(b"\0\0\1\xe0", len(content) // 2)
        content[head : head + 4] = bytes(4)
        path.write_bytes(content)
        with pytest.raises(InputError, match="the beginning of a frame is missing"):
            read_index(path)

    def test_sixteen_packets(self, tmp_path: Path) -> None:
        path, clean = written(tmp_path, "ts")
        content = path.read_bytes()
        middle = len(content) // 376 * 188
        path.write_bytes(content[:middle] + content[middle + 16 * 188 :])
        with suppress(InputError):
            assert misplaced(path, clean) == []


class TestMp4:
    @pytest.mark.parametrize("name", [b"stts", b"ctts", b"stsc"])
    def test_a_blank_in_a_table(self, tmp_path: Path, name: bytes) -> None:
        path, _ = written(tmp_path, "mov")
        content = bytearray(path.read_bytes())
        start = content.rindex(name)
        content[start + 8 : start + 16] = bytes(8)
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_index(path)

    def test_a_time_far_from_that_of_decoding(self, tmp_path: Path) -> None:
        path, _ = written(tmp_path, "mp4")
        content = bytearray(path.read_bytes())
        content[content.index(b"ctts") + 12 + 8 * 20 + 4] ^= 4
        path.write_bytes(content)
        with pytest.raises(InputError, match="presentation times are far from its decoding times"):
            read_index(path)

    @pytest.mark.parametrize("change", ["cut", "repeat", "rename"])
    def test_a_fragment(self, tmp_path: Path, change: str) -> None:
        path, _ = written(tmp_path, "fragments")
        content = path.read_bytes()
        starts = [n - 4 for n in range(len(content)) if content[n : n + 4] == b"moof"]
        first, second = starts[2:4]
        part = content[first:second]
        middle = {"cut": b"", "repeat": part * 2, "rename": part.replace(b"moof", b"mooF")}[change]
        path.write_bytes(content[:first] + middle + content[second:])
        with pytest.raises(InputError, match="fragment"):
            read_index(path)


class TestAvi:
    @pytest.mark.parametrize("kind", ["h264 in avi", "mjpeg in avi"])
    @pytest.mark.parametrize("place", [0.3, 0.6])
    def test_a_part_cut_out(self, tmp_path: Path, kind: str, place: float) -> None:
        path, _ = written(tmp_path, kind)
        content = path.read_bytes()
        begin = content.index(b"movi")
        cut = begin + int(place * (len(content) - begin))
        path.write_bytes(content[:cut] + content[cut + 100 :])
        with pytest.raises(InputError, match=r"is damaged|is truncated"):
            read_index(path)

    def test_a_part_cut_out_of_the_head(self, tmp_path: Path) -> None:
        path, _ = written(tmp_path, "h264 in avi")
        content = path.read_bytes()
        cut = content.index(b"movi") - 400
        path.write_bytes(content[:cut] + content[cut + 100 :])
        with pytest.raises(InputError, match="its list of frames cannot be found"):
            read_index(path)


class TestMatroska:
    @pytest.mark.parametrize("count", range(1, 6))
    def test_bytes_inserted_in_a_cluster(self, tmp_path: Path, count: int) -> None:
        path, _ = written(tmp_path, "mkv")
        content = path.read_bytes()
        middle = len(content) * 2 // 3
        path.write_bytes(content[:middle] + b"\x40" * count + content[middle:])
        with pytest.raises(InputError, match=r"no element begins|is truncated"):
            read_index(path)


class TestAsf:
    @pytest.mark.parametrize("change", ["move", "repeat", "swap"])
    def test_a_packet(self, tmp_path: Path, change: str) -> None:
        path, _ = written(tmp_path, "wmv2 in wmv", packet_size="600")
        parts = asf_packets(path.read_bytes(), 600)
        middle = len(parts) // 2
        if change == "swap":
            parts[middle - 1 : middle + 1] = parts[middle - 1 : middle + 1][::-1]
        elif change == "move":
            parts.insert(-2, parts.pop(middle))
        else:
            parts[middle] = parts[middle - 1]
        path.write_bytes(b"".join(parts))
        with pytest.raises(InputError, match="frames are missing or repeated"):
            read_index(path)

    def test_the_last_packet(self, tmp_path: Path) -> None:
        path, _ = written(tmp_path, "wmv2 in wmv", packet_size="600")
        parts = asf_packets(path.read_bytes(), 600)
        path.write_bytes(b"".join(parts[:-2]))
        with pytest.raises(InputError, match="does not hold all of its"):
            read_index(path)

    def test_a_time(self, tmp_path: Path) -> None:
        """Frames after one that claims to come last are not taken for others."""
        path, clean = written(tmp_path, "wmv2 in wmv")
        content = bytearray(path.read_bytes())
        time = (700 + 3100).to_bytes(4, "little")  # of frame 21, behind the preroll
        content[content.index(time, content.index(DATA) + 100) + 3] ^= 1
        path.write_bytes(content)
        assert misplaced(path, clean) == []

    def test_a_live_file(self, tmp_path: Path) -> None:
        path, _ = written(tmp_path, "wmv2 in wmv")
        content = bytearray(path.read_bytes())
        content[content.index(PROPERTIES) + 88] |= 1
        data = content.index(DATA)
        content[data + 16 : data + 24] = content[data + 40 : data + 48] = bytes(8)
        path.write_bytes(content)
        assert len(read_index(path)) == FRAMES

    def test_several_frames_in_a_payload(self) -> None:
        head = bytes([0x82, 0, 0, 0x00, 0x5D, *bytes(6)])
        payload = bytes([0x81, 7, *(40).to_bytes(4, "little"), 1, 33])
        [found] = _payloads(head + payload + b"\x03abc\x02de")
        assert (found.stream, found.number, found.time, found.frames) == (1, 7, 40, 2)


def asf_packets(content: bytes, size: int) -> list[bytes]:
    """Split a file into its head, its packets, and what follows them."""
    begin = content.index(DATA) + 50
    count = int.from_bytes(content[begin - 10 : begin - 2], "little")
    ends = range(begin, begin + (count + 1) * size, size)
    packets = [content[end - size : end] for end in ends[1:]]
    return [content[:begin], *packets, content[begin + count * size :]]


class TestNut:
    @pytest.mark.parametrize("change", ["cut", "insert", "flip"])
    def test_a_byte(self, tmp_path: Path, change: str) -> None:
        path, _ = written(tmp_path, "rawvideo in nut")
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        if change == "flip":
            content[content.index(SYNCPOINT, middle) + 9] ^= 1
        elif change == "cut":
            del content[middle]
        else:
            content.insert(middle, 0)
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"begins no frame|checksum"):
            read_index(path)

    def test_frames_after_the_index(self, tmp_path: Path) -> None:
        path, _ = written(tmp_path, "rawvideo in nut")
        content = path.read_bytes()
        path.write_bytes(content + content[content.rindex(SYNCPOINT) :])
        with pytest.raises(InputError, match="frames follow its index"):
            read_index(path)

    def test_a_file_that_was_cut_off(self, tmp_path: Path) -> None:
        path, clean = written(tmp_path, "rawvideo in nut")
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(SYNCPOINT) - 100])
        with suppress(InputError):
            assert misplaced(path, clean) == []
