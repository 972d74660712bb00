"""A path is the name of one file, and that file alone is read."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.video.index import read_index
from pipeline.video.opening import open_video
from tests.videos import encoded_image, luma, textured, write_video

PLAYLIST = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:5
#EXTINF:0.333333,
{0}
#EXT-X-ENDLIST
"""
CONCAT = "ffconcat version 1.0\nfile {0}\n"
SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=a
c=IN IP4 127.0.0.1
t=0 0
m=video 5004 RTP/AVP 96
a=rtpmap:96 H264/90000
"""


@pytest.fixture
def requests() -> Iterator[tuple[int, list[str]]]:
    """The port of a server on this machine, and the paths that were asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1], asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "name", ["10:30.mp4", "file:x.mp4", "http:/127.0.0.1:9/x.mp4", "concat:x.mp4|x.mp4", "a,b.mp4"]
)
@pytest.mark.parametrize("absolute", [True, False])
def test_a_name_is_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("x.mp4"), textured(5, seed=1))
    pictures = textured(6)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    write_video(tmp_path / "other.mp4", pictures).rename(tmp_path / name)
    path = tmp_path / name if absolute else Path(name)
    index = read_index(path)
    np.testing.assert_array_equal(luma(path, index, [5])[5], pictures[5])
    assert len(index) == 6


def test_no_server_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: tuple[int, list[str]]
) -> None:
    port, asked = requests
    monkeypatch.chdir(tmp_path)
    path = Path(f"http:/127.0.0.1:{port}/x.mp4")
    path.parent.mkdir(parents=True)
    write_video(tmp_path / path, textured(3))
    (tmp_path / "a.m3u8").write_text(PLAYLIST.format(f"http://127.0.0.1:{port}/x.ts"))
    assert len(read_index(path)) == 3
    with pytest.raises(InputError, match="hls"):
        read_index(tmp_path / "a.m3u8")
    assert not asked


@pytest.mark.parametrize(
    ("text", "name", "suffix"),
    [
        (PLAYLIST, "hls", "m3u8"),
        *((CONCAT, "concat", suffix) for suffix in ("ffconcat", "mp4", "txt")),
        *((SDP, "sdp", suffix) for suffix in ("sdp", "mp4")),
    ],
)
def test_formats_that_refer_to_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str, suffix: str
) -> None:
    video = write_video(tmp_path / "b.ts", textured(10))
    path = tmp_path / f"a.{suffix}"
    path.write_text(text.format(video.name))
    level = av.logging.get_level()
    with pytest.raises(InputError, match=rf" is {name} \(") as caught:
        read_index(path)
    assert str(path) in str(caught.value)
    assert av.logging.get_level() == level
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=name):
        open_video(Path(path.name))


def test_an_image_is_not_a_pattern_of_images(tmp_path: Path) -> None:
    pictures = textured(3)
    for number in (0, 1):
        (tmp_path / f"a{number}.png").write_bytes(encoded_image(pictures[number]))
    path = tmp_path / "a%d.png"
    path.write_bytes(encoded_image(pictures[2]))
    index = read_index(path)
    assert len(index) == 1
    np.testing.assert_array_equal(luma(path, index, [0])[0], pictures[2])


def test_planes_in_several_files(tmp_path: Path) -> None:
    for name, size in (("Y", 352 * 288), ("U", 352 * 72), ("V", 352 * 72)):
        (tmp_path / f"a.{name}").write_bytes(bytes(size))
    with pytest.raises(InputError, match="image2"):
        read_index(tmp_path / "a.Y")


def test_a_mov_whose_data_lie_in_another_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mov", textured(5))
    content = refer(video.read_bytes(), str(video))
    path = tmp_path / "b.mov"
    path.write_bytes(content)
    options = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(path), container_options=options) as container:  # as FFmpeg may be told
        assert sum(1 for packet in container.demux(video=0) if packet.size) == 5
    with pytest.raises(InputError, match="holds 0 of its 5 frames"):
        read_index(path)


def refer(content: bytes, target: str) -> bytes:
    """Have a MOV look for its pictures in another file."""
    place = content.index(b"dref") + 12  # past version, flags and count: its one entry
    length = int.from_bytes(content[place : place + 4], "big")
    name = target.encode() + bytes(len(target) % 2)
    alias = bytes(18 + 28 + 12 + 64 + 16) + b"\0\1\0\1" + bytes(16)
    alias += b"\0\2" + len(target).to_bytes(2, "big") + name + b"\xff\xff\0\0"
    entry = (12 + len(alias)).to_bytes(4, "big") + b"alis" + bytes(4) + alias
    grown = bytearray(content[:place] + entry + content[place + length :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = content.rindex(box, 0, place) - 4
        size = int.from_bytes(grown[start : start + 4], "big") + len(entry) - length
        grown[start : start + 4] = size.to_bytes(4, "big")
    return bytes(grown)
