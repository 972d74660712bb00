from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from featstore.errors import InputError
from featstore.format import layout
from models.backbones import build_backbone
from models.catalogue import BACKBONES
from models.operators import declare_missing_operators
from pipeline.build.extract import backbone as backbone_module
from pipeline.build.extract.backbone import numerics
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.extract.extractor import Extractor
from pipeline.build.extract.statistics import Statistics
from pipeline.video import pieces
from tests import reference
from tests.builds import FRAMES, ROWS, build, options_of, relative_error, row, write_dataset
from tests.networks import shallow_vit
from tests.videos import write_table

declare_missing_operators()
import torchvision  # noqa: E402

MEAN, STD = 0.4, 0.2
SIZES = {"vit_b_16": 224, "convnext_tiny": 64, "efficientnet_b0": 64, "regnet_y_400mf": 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def unit(data: Path) -> dict[str, np.ndarray]:
    """Every video's luma in 0..1: the grey one is in full range."""
    found = {name: reference.luma_frames(data.parent / name) for name in
             ("train.mp4", "val.mkv", "test.avi")}  # fmt: skip
    return {
        name: luma / 255 if name == "val.mkv" else np.clip((luma - 16.0) / 219, 0, 1)
        for name, luma in found.items()
    }


@pytest.fixture(scope="module")
def few(data: Path) -> Path:
    """A table of few frames of the same videos."""
    rows = [row("train.mp4", 1, 4, "train"), row("train.mp4", 2, 5, "train")]
    rows += [row("val.mkv", 20, 22, "val"), row("test.avi", 23, 24, "test")]
    return write_table(data.parent / "few.csv", rows)


def seeded(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torchvision.models.get_model(name, weights=None)


def expected_rows(store, unit, network, size: int, *, frames_of=None, fit="squash"):
    """Features of every clip by the slow way, frame by frame."""
    for clip in range(len(store)):
        video = unit[str(store.videos[clip])]
        steps = frames_of(clip) if frames_of else range(store.start[clip], store.stop[clip])
        inputs = reference.network_inputs(video[list(steps)], MEAN, STD, size, fit)
        yield clip, reference.features(network, inputs)


def check(store, expected) -> None:
    for clip, rows in expected:
        assert store[clip].shape == rows.shape
        assert relative_error(store[clip], rows).max() <= 1e-4
        # The frames' features differ by far more than that, so a wrong frame would be seen.
        if len(rows) > 1:
            assert relative_error(rows[1:], rows[:-1]).min() > 5e-4


@pytest.mark.parametrize("name", [n for n, spec in BACKBONES.items() if spec.kind == "image"])
def test_every_image_backbone_equals_frame_by_frame(
    tmp_path: Path, few, unit, name, monkeypatch
) -> None:
    size = SIZES.get(name, 48)
    monkeypatch.setattr(*shallow_vit())
    if name == "vit_b_16":  # slow: a frame of each video
        rows = [row("train.mp4", 9, 11, "train"), row("val.mkv", 9, 10, "val")]
        few = write_table(few.with_name("fewer.csv"), [*rows, row("test.avi", 9, 10, "test")])
    options = options_of(
        few, tmp_path, backbone=name, size=size, normalise=f"{MEAN},{STD}", batch_size=2
    )
    store = build(options)
    assert store.dim == BACKBONES[name].dim
    check(store, expected_rows(store, unit, seeded(name), size))


def test_r3d_18_over_windows(tmp_path: Path, data: Path, unit) -> None:
    options = options_of(
        data, tmp_path, backbone="r3d_18", window=4, hop=3, normalise=f"{MEAN},{STD}", batch_size=2
    )
    store = build(options)
    network = seeded("r3d_18")
    windows = {  # start and stop of a clip to the frames of its steps
        (0, 10): [(0, 1, 2, 3), (3, 4, 5, 6), (6, 7, 8, 9)],
        (4, 16): [(4, 5, 6, 7), (7, 8, 9, 10), (10, 11, 12, 13), (12, 13, 14, 15)],
        (6, 9): [(6, 7, 8, 8)],
    }
    for clip in np.flatnonzero(store.splits == "train"):
        steps = windows[int(store.start[clip]), int(store.stop[clip])]
        video = unit["train.mp4"]
        inputs = [
            torch.stack(reference.network_inputs(video[list(step)], MEAN, STD, 32), dim=1)
            for step in steps
        ]
        rows = reference.features(network, inputs)
        assert store.frames(clip).tolist() == [step[0] for step in steps]
        assert relative_error(store[clip], rows).max() <= 1e-4
    assert store.attributes["repeated_last_frame"] == 1


def test_timm(tmp_path: Path, few: Path, unit) -> None:
    timm = pytest.importorskip("timm")
    options = options_of(
        few, tmp_path, backbone="timm:test_efficientnet", size=64, normalise=f"{MEAN},{STD}"
    )
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", pretrained=False)
    # timm draws other weights with and without a classifier, so the store's are taken over.
    network.load_state_dict(
        build_backbone("timm:test_efficientnet").network.state_dict(), strict=False
    )
    store = build(options)
    check(store, expected_rows(store, unit, network, 64))


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_fits(tmp_path: Path, few: Path, unit, fit: str) -> None:
    options = options_of(few, tmp_path, size=48, fit=fit, normalise=f"{MEAN},{STD}")
    store = build(options)
    check(store, expected_rows(store, unit, seeded("squeezenet1_1"), 48, fit=fit))


def test_sampled(tmp_path: Path, data: Path, unit) -> None:
    options = options_of(data, tmp_path, size=48, fps=Fraction(10), normalise=f"{MEAN},{STD}")
    store = build(options)

    def every_third(clip: int) -> range:
        return range(store.start[clip], store.stop[clip], 3)

    check(store, expected_rows(store, unit, seeded("squeezenet1_1"), 48, frames_of=every_third))
    for clip in range(len(store)):
        assert store.frames(clip).tolist() == list(every_third(clip))
        # The grey video is in Matroska, whose clock ticks in milliseconds.
        np.testing.assert_allclose(store.times(clip), store.frames(clip) / 30, atol=6e-4)


def test_measured_statistics_are_used(tmp_path: Path, data: Path, unit) -> None:
    store = build(options_of(data, tmp_path, size=48))
    pixels = unit["train.mp4"][:16]
    inputs = reference.network_inputs(unit["val.mkv"][3:20], pixels.mean(), pixels.std(), 48)
    rows = reference.features(seeded("squeezenet1_1"), inputs)
    [clip] = store.split("val")
    assert relative_error(store[clip], rows).max() <= 1e-4


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "r3d_18"])
def test_units_may_end_within_clips(tmp_path: Path, data, backbone, monkeypatch) -> None:
    options = {"backbone": backbone, "window": 4, "hop": 2}
    one = build(options_of(data, tmp_path / "one", **options))
    rows = 2
    monkeypatch.setattr(layout, "CHUNK_BYTES", rows * 4 * one.dim)
    many = build(options_of(data, tmp_path / "many", **options))
    chunks = list((many.path / "features" / "c").iterdir())
    assert len(chunks) == -(-int(many.row_size.sum()) // rows) > 10
    for a, b in zip(one, many, strict=True):
        assert relative_error(a, b).max() < 1e-5
        assert np.isfinite(a).all()


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "r3d_18"])
def test_threads_may_decode_pieces_of_a_video_at_once(
    tmp_path: Path, data: Path, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"backbone": backbone, "window": 4, "hop": 3, "workers": 3}
    begun: list[int] = []
    original = Extractor._decode

    def decode(self, video, wanted):
        begun.append(len(wanted))
        return original(self, video, wanted)

    monkeypatch.setattr(Extractor, "_decode", decode)
    whole = build(options_of(data, tmp_path / "whole", **options))
    in_whole = begun.copy()
    monkeypatch.setattr(pieces, "PIECE_FRAMES", 1)
    cut = build(options_of(data, tmp_path / "cut", **options))
    in_pieces = begun[len(in_whole) :]
    assert len(in_pieces) > len(in_whole)
    assert sum(in_pieces) == sum(in_whole)
    assert cut.attributes == whole.attributes
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(a, b)


def test_overlapping_clips_share_their_rows(tmp_path: Path, data: Path, monkeypatch) -> None:
    decoded: list[int] = []
    forward = BatchRunner._run

    def counted(self, inputs):
        decoded.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(BatchRunner, "_run", counted)
    store = build(options_of(data, tmp_path))
    assert sum(decoded) == 16 + 17 + FRAMES
    assert int(store.row_size.sum()) == sum(r["end"] - r["start"] for r in ROWS)
    rows = {
        (int(store.start[c]), int(store.stop[c])): store[c]
        for c in np.flatnonzero(store.videos == "train.mp4")
    }
    np.testing.assert_array_equal(rows[0, 10][4:], rows[4, 16][:6])
    np.testing.assert_array_equal(rows[0, 10][6:9], rows[6, 9])


def test_every_forward_has_one_shape(tmp_path: Path, data: Path, monkeypatch) -> None:
    shapes = set()
    forward = torch.nn.Module.__call__

    def seen(self, x, *rest, **more):
        if type(self).__name__ == "Backbone":
            shapes.add(tuple(x.shape))
        return forward(self, x, *rest, **more)

    monkeypatch.setattr(backbone_module, "feature_dim", lambda *rest: 512)
    monkeypatch.setattr(torch.nn.Module, "__call__", seen)
    store = build(options_of(data, tmp_path, batch_size=5))
    assert shapes == {(5, 1, 32, 32)}  # luma enters as one channel
    assert store.attributes["numerics"]["batch_shape"] == [5, 1, 32, 32]


def test_a_size_that_a_network_cannot_take(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match="--size is 8") as caught:
        build(options_of(data, tmp_path, size=8))
    assert "\n" not in str(caught.value)


def test_numerics_say_what_decides_the_last_bits() -> None:
    found = numerics(torch.device("cpu"), [8, 3, 32, 32])
    assert found["torch"] == torch.__version__
    assert found["torchvision"] == torchvision.__version__
    assert found["device"] == "cpu"
    assert Statistics(mean=(0.5,), std=(0.1,), origin="fixed").as_json()["mean"] == [0.5]
