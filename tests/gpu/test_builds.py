"""Builds on a GPU: the same bytes twice, after an interruption, a repair and too little memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from featstore import InputError, Store
from featstore.format import layout
from pipeline.build import executors
from pipeline.build.extract.backbone import fitting_batch, load_backbone
from pipeline.build.extract.batch_runner import BatchRunner
from pipeline.build.plan.weights import Weights
from tests.builds import build, options_of

UNIT_ROWS = 8
MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * UNIT_ROWS)


@pytest.fixture
def make(data: Path, tmp_path: Path, device: torch.device) -> Callable[..., Store]:
    """Build on the device into a folder of stores."""

    def make(folder: str, log: Callable[[str], None] = print, **more: object) -> Store:
        options = {"device": str(device), "size": 48, "window": 4, "hop": 1, "workers": 4}
        return build(options_of(data, tmp_path / folder, **(options | more)), log)

    return make


def bytes_of(store: Store) -> dict[str, bytes]:
    """Every file of a store."""
    path = Path(store.path)
    files = [one for one in path.rglob("*") if one.is_file()]
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in files}


def test_the_same_bytes_twice(make: Callable[..., Store]) -> None:
    first, second = bytes_of(make("first")), bytes_of(make("second"))
    assert first == second
    assert sum(name.startswith("features/c/") for name in first) > 5


@pytest.mark.parametrize(
    ("backbone", "precision"),
    [("r3d_18", "float32"), ("resnet18", "tf32"), ("resnet18", "bf16"), ("vit_b_16", "fp16")],
)
def test_the_same_bytes_twice_with_other_kernels(
    data: Path, tmp_path: Path, gpu: torch.device, backbone: str, precision: str
) -> None:
    size = 224 if backbone == "vit_b_16" else 48
    options = {"device": str(gpu), "backbone": backbone, "size": size, "precision": precision}
    stores = [build(options_of(data, tmp_path / name, **options)) for name in ("a", "b")]
    assert bytes_of(stores[0]) == bytes_of(stores[1])


def test_an_interrupted_build_resumes(
    make: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = bytes_of(make("whole"))
    write, written = executors.write_unit, list[int]()

    def interrupted(files, unit, *rest):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(unit)
        return write(files, unit, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(executors, "write_unit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make("parts")
    lines: list[str] = []
    assert bytes_of(make("parts", lines.append)) == expected
    assert any("resuming after 3 of" in line for line in lines)


def test_a_damaged_store_is_repaired(make: Callable[..., Store]) -> None:
    store = make("stores")
    expected = bytes_of(store)
    chunk = Path(store.path) / "features/c/2/0"
    chunk.write_bytes(bytes(len(expected["features/c/2/0"])))
    assert bytes_of(store) != expected
    lines: list[str] = []
    assert bytes_of(make("stores", lines.append, repair=True)) == expected
    assert any("keeping" in line and "which are intact" in line for line in lines)


@contextmanager
def little_memory(device: torch.device, share: float) -> Iterator[None]:
    """Let torch take a share of the GPU's memory only."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def test_a_batch_that_fits_is_found(gpu: torch.device) -> None:
    network = load_backbone("resnet18", Weights("random", None, 0))
    shape = [256, 3, 224, 224]
    assert fitting_batch(network, shape, gpu) == 256
    total = torch.cuda.get_device_properties(gpu).total_memory
    with little_memory(gpu, 1000 * MEBIBYTE / total):
        assert 1 <= fitting_batch(network, shape, gpu) < 256


def test_a_build_that_ran_out_of_memory_resumes(
    make: Callable[..., Store], device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = bytes_of(make("whole"))
    write, run, written = executors.write_unit, BatchRunner._run, list[int]()

    def noted(files, unit, *rest):
        written.append(unit)
        return write(files, unit, *rest)

    def full(self, inputs):
        if len(written) < 2:
            return run(self, inputs)
        if device.type == "cpu":
            raise torch.OutOfMemoryError("pretended")
        with little_memory(device, 1e-6):
            return run(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(executors, "write_unit", noted)
        patch.setattr(BatchRunner, "_run", full)
        with pytest.raises(InputError, match=r"out of memory with batches of 8.*Finished units"):
            make("parts")
    lines: list[str] = []
    assert bytes_of(make("parts", lines.append)) == expected
    assert any("resuming after" in line for line in lines)
