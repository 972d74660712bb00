"""What a GPU has not written yet must not be read, however late it writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from featstore import Store
from pipeline.build.extract.buffers import Uploads
from tests.builds import build, options_of, write_dataset
from tests.late_gpu import CPU, LateGpu, LateStream, compute_pixels

KINDS = {"frames": "squeezenet1_1", "windows": "r3d_18"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


def pixels_of(data: Path, stores: Path, kind: str) -> Store:
    options = {"size": 48, "normalise": "0.4,0.2", "workers": 4, "window": 4, "hop": 1}
    return build(options_of(data, stores, backbone=KINDS[kind], **options))


def differ(one: Store, other: Store) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def expected(data: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    with monkeypatch.context() as patch:
        compute_pixels(patch, CPU)
        return pixels_of(data, tmp_path / "cpu", kind)


@pytest.fixture
def gpu(expected: Store, monkeypatch: pytest.MonkeyPatch) -> LateGpu:
    gpu = LateGpu()
    gpu.install(monkeypatch)
    return gpu


def test_nothing_is_read_too_early(
    data: Path, tmp_path: Path, kind: str, expected: Store, gpu: LateGpu
) -> None:
    found = pixels_of(data, tmp_path / "gpu", kind)
    assert len(np.unique(np.concatenate(list(expected)), axis=0)) > 40
    assert not differ(found, expected)
    # Windows are joined on another stream than the one that the memory of frames belongs to.
    assert set(gpu.kept) == ({gpu.default} if kind == "windows" else set())


def test_uploads_that_nobody_waits_for_are_seen(
    data: Path, tmp_path: Path, kind: str, expected: Store, gpu: LateGpu, monkeypatch
) -> None:
    @contextmanager
    def beside(self: Uploads) -> Iterator[None]:
        with torch.cuda.stream(self._stream):
            yield

    monkeypatch.setattr(Uploads, "beside", beside)
    assert differ(pixels_of(data, tmp_path / "gpu", kind), expected)


def test_inputs_that_nobody_waits_for_are_seen(
    data: Path, tmp_path: Path, kind: str, expected: Store, gpu: LateGpu, monkeypatch
) -> None:
    monkeypatch.setattr(LateStream, "wait_event", lambda self, event: None)
    # Frames are there when they are uploaded; windows are put together by the GPU.
    assert differ(pixels_of(data, tmp_path / "gpu", kind), expected) == (kind == "windows")
