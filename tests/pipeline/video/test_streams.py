"""Of several video streams, the one that players show is read."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from pipeline.build.summary import describe
from pipeline.video.decode import decode
from pipeline.video.index import read_index
from tests.builds import options_of, plan_of, write_dataset
from tests.videos import textured, write_streams, write_video

FILM, COVER = textured(20), textured(1, 96, 128, seed=1)
SMALL, LARGE = textured(5), textured(5, 96, 128, seed=1)
DEFAULT, NONE = Disposition.default, Disposition(0)


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
@pytest.mark.parametrize(
    ("parts", "marks", "shown"),
    [
        ((COVER, FILM), (NONE, DEFAULT), 1),
        ((COVER, FILM), (DEFAULT, NONE), 1),
        ((COVER, FILM), (NONE, NONE), 1),
        ((FILM, COVER), (NONE, NONE), 0),
        ((SMALL, LARGE), (NONE, NONE), 1),
        ((SMALL, LARGE), (DEFAULT, DEFAULT), 1),
        ((SMALL, LARGE), (DEFAULT, NONE), 0),
        ((LARGE, SMALL), (NONE, DEFAULT), 1),
        ((SMALL, SMALL), (NONE, NONE), 0),
    ],
)
def test_which_is_read(tmp_path: Path, parts, marks, shown: int, codec: str) -> None:
    path = write_streams(tmp_path / "a.mkv", parts, marks, codec)
    index = read_index(path)
    assert (index.stream, index.streams) == (shown, 2)
    found = dict(decode(path, index, np.arange(len(index)), "luma"))
    assert len(found) == len(parts[shown])
    for number, picture in found.items():
        np.testing.assert_array_equal(picture, parts[shown][number])


def test_an_attached_picture_is_no_second_stream(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", FILM)
    cover = write_video(tmp_path / "c.mkv", COVER, codec="mjpeg", pixel_format="yuvj420p")
    path = tmp_path / "a.mp4"
    with av.open(str(cover)) as picture, av.open(str(film)) as source, av.open(path, "w") as output:
        inputs = [picture.streams.video[0], source.streams.video[0]]
        outputs = [output.add_stream_from_template(stream) for stream in inputs]
        outputs[0].disposition = Disposition.attached_pic
        for stream, target in zip(inputs, outputs, strict=True):
            for packet in stream.container.demux(stream):
                if packet.dts is not None:
                    packet.stream = target
                    output.mux(packet)
    index = read_index(path)
    assert (len(index), index.streams) == (20, 1)


def test_a_build_says_so_and_its_key_names_the_stream(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    write_streams(tmp_path / "data" / "val.mkv", (COVER, FILM), (NONE, NONE), "libx264")
    plan = plan_of(options_of(data, tmp_path / "stores"))
    said = " ".join(describe(plan))
    assert "1 videos hold several video streams" in said
    assert "val.mkv: stream 2 of 2 is read" in said
    for clip in plan.clips:
        video = plan.videos[clip.video]
        suffix = "#1" if video.name == "val.mkv" else ""
        assert clip.key(plan.videos, "luma").video == video.sha256 + suffix
