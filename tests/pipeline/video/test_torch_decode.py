"""What `torch_decode` makes of torchcodec's answers, which a made-up decoder gives here."""

import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featstore.errors import InputError
from pipeline.build.extract import histograms
from pipeline.build.extract.preprocess import pixel_values
from pipeline.video import torchcodec as torch_decode
from pipeline.video.decode import Lost, decode, decode_all
from pipeline.video.decoders import decoding, versions
from pipeline.video.errors import DecodeError
from pipeline.video.index import VideoIndex, read_index
from pipeline.video.torchcodec import decode_with_torchcodec
from tests.videos import textured, write_images, write_video

INDEX = VideoIndex(
    100 + 3 * np.arange(40), np.array([0, 10, 30]), Fraction(1, 90), 220, 4, 2, "yuv420p", 8, "full"
)
PICTURES = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 4, 3)


class MadeUp:
    """What torchcodec's VideoDecoder is to `torch_decode`."""

    def __init__(self, *, frames: int = 40, bad=(), moved=(), fallback: str = "") -> None:
        self._frames, self._bad, self._moved = frames, set(bad), set(moved)
        self.cpu_fallback = Fallback(fallback)

    def __len__(self) -> int:
        return self._frames

    def get_frames_at(self, numbers: list[int]):
        # As a decoder does that must pass what lies between.
        if self._bad & set(range(numbers[0] // 10 * 10, numbers[-1] + 1)):
            raise RuntimeError("decode, /src/core/Decoder.cpp:9, Could not decode.\nmore")
        ticks = [int(INDEX.pts[n + (n in self._moved)]) for n in numbers]
        return SimpleNamespace(
            data=PICTURES[numbers], pts_seconds=torch.tensor(ticks, dtype=torch.float64) / 90
        )


class Fallback:
    """What torchcodec says of decoding on the CPU."""

    def __init__(self, why: str) -> None:
        self._why, self.status_known = why, why != "unknown"

    def __bool__(self) -> bool:
        return self.status_known and bool(self._why)

    def __str__(self) -> str:
        return self._why or "No fallback required"


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch):
    """Let every video be one that is made up."""

    def let(*, only_cpu: bool = False, **options) -> None:
        def decoder(path: Path, stream: int, device: str) -> MadeUp:
            if only_cpu and device != "cpu":
                raise RuntimeError("validate, /src/core/Device.cpp:87, Unsupported device: cuda")
            return MadeUp(**options)

        monkeypatch.setattr(torch_decode, "_stream", lambda path, place, first: 0)
        monkeypatch.setattr(torch_decode, "_decoder", decoder)

    return let


def frames_of(numbers: list[int], device: str = "cpu") -> list[int]:
    found = decode_with_torchcodec(Path("a.mp4"), INDEX, np.array(numbers), "rgb", device=device)
    own = []
    try:
        for number, picture in found:
            assert int(picture[0, 0, 0]) == number
            assert isinstance(picture, np.ndarray if device == "cpu" else torch.Tensor)
            own.append(number)
    except DecodeError as error:
        own.append(-error.frame)
    return own


def test_frames_are_those_of_the_index(opening) -> None:
    opening()
    assert frames_of(list(range(40))) == list(range(40))
    assert frames_of([2, 3, 39]) == [2, 3, 39]


def test_another_frame_is_not_taken_for_the_one_asked_for(opening) -> None:
    opening(moved=[7])
    assert frames_of(list(range(40))) == [*range(7), -7]
    assert frames_of([7]) == [-7]


def test_frames_before_one_that_fails_are_given(opening) -> None:
    opening(bad=[17])
    assert frames_of(list(range(40))) == [*range(17), -17]
    assert frames_of([3, 18, 31]) == [3, -18]
    [first, lost, *rest] = _runs(
        decode_all(Path("a.mp4"), INDEX, np.arange(40), "rgb", decoding_of("cpu"))
    )
    assert first == list(range(17))
    assert lost == Lost(list(range(17, 30)), "frame 17 did not decode (Could not decode)")
    assert rest == [list(range(30, 40))]


def decoding_of(device: str):
    return lambda *given: decode_with_torchcodec(*given, device=device)


def _runs(found) -> list:
    runs: list = []
    for own in found:
        if isinstance(own, Lost):
            runs.append(own)
        elif runs and isinstance(runs[-1], list):
            runs[-1].append(own[0])
        else:
            runs.append([own[0]])
    return runs


def test_another_number_of_frames(opening) -> None:
    opening(frames=39)
    with pytest.raises(InputError, match="has 40 frames, but torchcodec finds 39"):
        frames_of([0])


def test_memory_that_runs_out_is_no_lost_frame(opening, monkeypatch) -> None:
    opening()

    def full(self, numbers):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MadeUp, "get_frames_at", full)
    with pytest.raises(torch.OutOfMemoryError):
        frames_of([0, 1])


def test_frames_of_a_gpu_stay_there(opening) -> None:
    opening()
    assert frames_of([1, 2, 30], "cuda") == [1, 2, 30]


@pytest.mark.parametrize("why", ["Video not supported", "unknown"])
def test_the_cpu_never_decodes_for_the_gpu(opening, why: str) -> None:
    opening(fallback=why)
    with pytest.raises(InputError, match=rf"GPU .{why}"):
        frames_of([0], "cuda")
    assert frames_of([0]) == [0]


def test_a_torchcodec_without_cuda(opening) -> None:
    opening(only_cpu=True)
    with pytest.raises(InputError, match=r"cannot be decoded on cuda .Unsupported device: cuda"):
        frames_of([0], "cuda")


def test_what_torchcodec_cannot_read(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", textured(3))
    untimed = write_video(tmp_path / "a.h264", textured(3))
    stream = write_video(tmp_path / "a.ts", textured(3))
    for path, kind in (
        (images, "a folder of images"),
        (untimed, "a video without time stamps"),
        (stream, "an MPEG-TS"),
    ):
        index = read_index(path) if path.is_file() else INDEX
        with pytest.raises(InputError, match=f"{kind}.*[Pp]ass --decoder"):
            next(decode_with_torchcodec(path, index, np.arange(2), "rgb", device="cpu"))
    with pytest.raises(InputError, match="RGB only; pixels are luma"):
        next(decode_with_torchcodec(stream, INDEX, np.arange(2), "luma", device="cpu"))
    with pytest.raises(DecodeError, match="No such file"):
        next(decode_with_torchcodec(tmp_path / "b.mp4", INDEX, np.arange(2), "rgb", device="cpu"))


class TestUse:
    """What is said where torchcodec or a GPU is missing."""

    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
        (tmp_path / "torchcodec").mkdir()
        (tmp_path / "torchcodec" / "__init__.py").write_text(content)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delitem(sys.modules, "torchcodec", raising=False)
        monkeypatch.syspath_prepend(tmp_path)

    def test_pyav_needs_nothing(self) -> None:
        assert decoding("pyav") is decode
        assert versions("pyav") == {}

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torchcodec", None)
        with pytest.raises(InputError, match=r"pip install torchcodec"):
            decoding("torchcodec:cpu")

    @pytest.mark.parametrize("error", ["RuntimeError", "OSError", "ImportError"])
    def test_not_loadable(self, tmp_path: Path, monkeypatch, error: str) -> None:
        self.package(tmp_path, monkeypatch, f"raise {error}('no libavutil.\\nmore')")
        with pytest.raises(InputError, match=r"cannot be loaded .no libavutil.; it needs FFmpeg"):
            decoding("torchcodec:cpu")
        sys.modules.pop("torchcodec", None)

    def test_no_gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.package(tmp_path, monkeypatch, "__version__ = '1.2'\nffmpeg_major_version = 8")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert versions("torchcodec:cpu") == {"torchcodec": "1.2", "its_ffmpeg": 8}
        with pytest.raises(InputError, match="torch finds no CUDA device"):
            decoding("torchcodec:cuda")
        sys.modules.pop("torchcodec", None)


def test_a_tensor_is_treated_as_an_array() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    tensors = torch.from_numpy(pictures)
    cpu = torch.device("cpu")
    own, *scale = pixel_values(tensors, INDEX, cpu)
    expected, *same = pixel_values(pictures, INDEX, cpu)
    assert torch.equal(own, expected)
    assert scale == same == [0, 255]
    counts = histograms._histogram(tensors[0])
    np.testing.assert_array_equal(counts, histograms._histogram(pictures[0]))
    assert counts.sum() == 3 * 48 * 64
