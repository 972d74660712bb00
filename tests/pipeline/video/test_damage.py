"""Videos that do not decode as their index says: never a wrong frame."""

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from featstore.errors import InputError
from pipeline.video.decode import _judged, decode
from pipeline.video.errors import DecodeError
from pipeline.video.index import read_index
from tests.videos import GOP_8, luma, off, textured, write_video


class TestDamage:
    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    def test_truncated_after_it_was_indexed(self, tmp_path: Path, name: str, share) -> None:
        pictures = textured(30)
        container = {"movflags": "faststart"} if name == "a.mp4" else {}
        path = write_video(tmp_path / name, pictures, options=GOP_8, container=container)
        index = read_index(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        good = []
        with pytest.raises(DecodeError) as caught:  # noqa: PT012
            for number, picture in decode(path, index, np.arange(30), "luma"):
                assert off(picture, pictures[number]) < 2.5
                good.append(number)
        assert good == list(range(caught.value.frame))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(DecodeError):
            luma(path, index, [29])

    def test_frames_predicted_from_a_damaged_one(self, tmp_path: Path) -> None:
        pictures = textured(30)
        options = {"options": {"g": "10", "qp": "1", "x264-params": "bframes=0:scenecut=0"}}
        path = write_video(tmp_path / "a.mp4", pictures, **options)
        index = read_index(path)
        with av.open(str(path)) as container:
            hit = next(p for p in container.demux(video=0) if p.pts == index.pts[13])
            place, size = hit.pos, hit.size
        content = bytearray(path.read_bytes())
        content[place + size // 2 : place + size] = bytes(size - size // 2)
        path.write_bytes(content)
        for number in range(30):
            if 13 <= number < 20:
                with pytest.raises(DecodeError):
                    luma(path, index, [number])
            else:
                assert off(luma(path, index, [number])[number], pictures[number]) < 2.5

    def test_b_frames_before_a_damaged_one(self, tmp_path: Path) -> None:
        pictures = textured(30)
        path = write_video(tmp_path / "a.mp4", pictures, options=GOP_8)
        index = read_index(path)
        with av.open(str(path)) as container:
            kinds = [frame.pict_type for frame in container.decode(video=0)]
            hit = next(n for n in range(2, 30) if kinds[n - 2 : n + 1] == [3, 3, 2])  # B, B, P
        with av.open(str(path)) as container:
            packet = next(p for p in container.demux(video=0) if p.pts == index.pts[hit])
        content = bytearray(path.read_bytes())
        half = packet.size // 2
        content[packet.pos + half : packet.pos + packet.size] = bytes(packet.size - half)
        path.write_bytes(content)
        refused = []
        for number in range(30):
            try:
                assert off(luma(path, index, [number])[number], pictures[number]) < 2.5
            except DecodeError:
                refused.append(number)
        assert refused == list(range(hit - 2, index.keys[index.keys > hit][0]))

    def test_few_frames_wait_for_one_that_never_comes(self) -> None:
        taken = []

        def marked_b():
            for number in range(100):
                taken.append(number)
                yield (
                    number,
                    SimpleNamespace(is_corrupt=False, key_frame=False, pict_type=PictureType.B),
                )

        for number, _, damaged in _judged(marked_b()):
            assert len(taken) - number <= 17
            assert not damaged
        assert number == 99

    def test_another_video_in_its_place(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mkv", textured(10), times=[i * 40 for i in range(10)])
        index = read_index(path)
        write_video(path, textured(10), times=[i * 50 for i in range(10)])
        with pytest.raises(DecodeError, match="not indexed"):
            luma(path, index, [0, 1, 2])

    def test_a_missing_frame_is_not_replaced_by_the_next(self, tmp_path: Path) -> None:
        times = [i * 40 for i in range(10)]
        path = write_video(tmp_path / "a.mkv", textured(10), codec="ffv1", times=times)
        index = read_index(path)
        keep = np.delete(np.arange(10), 4)
        write_video(path, textured(10)[keep], codec="ffv1", times=np.array(times)[keep].tolist())
        with pytest.raises(DecodeError, match=r"frame 4 did not decode .frame 5 came instead"):
            luma(path, index, [3, 4, 5])
        with pytest.raises(DecodeError, match="frame 5 came instead"):
            luma(path, index, [4])

    def test_a_file_that_went_away(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mkv", textured(3))
        index = read_index(path)
        path.unlink()
        with pytest.raises(InputError, match=r"frame 0 did not decode .No such file"):
            luma(path, index, [0])
