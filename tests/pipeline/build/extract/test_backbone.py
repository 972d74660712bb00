"""Precision, sizes of batches, and several batches at once."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from time import sleep

import numpy as np
import pytest
import torch

from featstore import Store
from featstore.errors import InputError
from featstore.format import layout
from featstore.manage.provenance import read_provenance
from pipeline.build.extract import backbone as backbone_module
from pipeline.build.extract import batch_runner as batch_runner_module
from pipeline.build.extract.backbone import fitting_batch, with_batch_size
from pipeline.build.extract.batch_runner import BatchRunner, concurrency_of
from pipeline.build.extract.batching import Batches, UnitFeatures
from pipeline.build.extract.buffers import Blocks
from pipeline.build.extract.timings import Timings
from pipeline.build.summary import timing_table
from pipeline.system import device as device_module
from pipeline.system.device import check_precision, choose_device
from pipeline.video.pieces import PIECE_FRAMES
from tests.builds import FRAMES, build, options_of, plan_of, relative_error, write_dataset

CPU = torch.device("cpu")
FIXED = {"normalise": "0.4,0.2", "size": 48}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def has_bf16(tmp_path: Path, monkeypatch) -> None:
    """A processor that says that it multiplies in bfloat16; torch does so on any."""
    path = tmp_path / "cpuinfo"
    path.write_text("flags : avx2 avx512f avx512_bf16\n")
    monkeypatch.setattr(device_module, "PROCESSOR", path)


class Picky(torch.nn.Module):
    """Takes batches up to a size; a larger one is out of memory."""

    channels = 3

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.seen = most, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return x.mean(dim=(2, 3))


def all_rows(store: Store) -> np.ndarray:
    return np.concatenate(list(store))


@pytest.mark.usefixtures("has_bf16")
def test_bf16_is_another_store_that_knows_what_it_costs(tmp_path: Path, data: Path) -> None:
    exact = build(options_of(data, tmp_path, **FIXED))
    store = build(options_of(data, tmp_path, precision="bf16", **FIXED))
    assert store.key != exact.key
    assert store.attributes["numerics"]["precision"] == "bf16"
    assert exact.attributes["numerics"]["precision"] == "float32"
    assert store.attributes["features"]["precision"] == "bf16"
    assert all_rows(store).dtype == np.float32
    off = relative_error(all_rows(store), all_rows(exact))
    assert 1e-4 < off.max() < 0.05
    # Measured on a batch of these rows.
    error = read_provenance(store.path)["precision_error"]
    assert off.min() / 2 < error["relative_rms"] < 2 * off.max()
    assert 0 < error["largest_absolute"] <= np.abs(all_rows(exact)).max() * 0.1
    assert "precision_error" not in read_provenance(exact.path)


@pytest.mark.usefixtures("has_bf16")
def test_the_error_is_that_of_the_first_batch() -> None:
    from models.backbones import build_backbone

    backbone = build_backbone("squeezenet1_1")
    x = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    runner = BatchRunner(backbone, [4, 3, 48, 48], CPU, "bf16")
    found = runner.submit(list(x[:3])).result().double()
    first = runner.error
    runner.submit(list(x)).result()
    assert runner.error is first
    with torch.inference_mode():
        exact = backbone(x[:3].contiguous(memory_format=torch.channels_last)).double()
    assert first is not None
    expected = float((found - exact).norm() / exact.norm())
    assert first["relative_rms"] == pytest.approx(expected, rel=1e-3)
    assert first["largest_absolute"] == pytest.approx(float((found - exact).abs().max()), rel=1e-3)


def test_features_beyond_the_range_are_refused() -> None:
    class Large(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3)) * torch.inf

    runner = BatchRunner(Large(), [2, 3, 8, 8], CPU, "fp16")
    with pytest.raises(InputError, match=r"--precision fp16.*not finite.*--precision bf16"):
        runner.submit([torch.ones(3, 8, 8)])


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_precisions_that_need_a_gpu(precision: str) -> None:
    with pytest.raises(InputError, match=rf"--precision is {precision},.*GPU"):
        choose_device("cpu", precision)


@pytest.mark.parametrize("name", ["meta", "hpu", "xla", "gpu", ""])
@pytest.mark.parametrize("gpu", [True, False])
def test_devices_that_cannot_compute_here(
    name: str, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    with pytest.raises(InputError, match=f"--device is '{name}'"):
        choose_device(name)


def test_bf16_needs_a_processor_that_has_it(tmp_path: Path, monkeypatch, has_bf16) -> None:
    check_precision("bf16", CPU)
    (tmp_path / "cpuinfo").write_text("flags : avx2 avx512f\n")
    with pytest.raises(InputError, match="this processor has no instructions"):
        check_precision("bf16", CPU)
    (tmp_path / "cpuinfo").unlink()
    with pytest.raises(InputError, match="this processor has no instructions"):
        check_precision("bf16", CPU)
    check_precision("float32", CPU)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_older_gpus_lack_what_ampere_has(monkeypatch, precision: str) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    with pytest.raises(InputError, match=rf"{precision},.*T4"):
        check_precision(precision, gpu)
    check_precision("fp16", gpu)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 0))
    check_precision(precision, gpu)


@pytest.mark.parametrize(("most", "expected"), [(64, 64), (63, 32), (9, 8), (1, 1)])
def test_batches_are_halved_until_they_fit(most: int, expected: int) -> None:
    backbone = Picky(most)
    assert fitting_batch(backbone, [64, 3, 4, 4], CPU) == expected
    assert set(backbone.seen) == {size for size in (64, 32, 16, 8, 4, 2, 1) if size >= expected}
    # As many at once as later.
    assert backbone.seen.count(expected) == concurrency_of(CPU)[0]


def test_frames_that_wait_are_given_room(tmp_path: Path, data: Path, monkeypatch) -> None:
    asked: list[int] = []

    def fitting(backbone, shape, device, precision, *, beside: int) -> int:
        asked.append(beside)
        return 32

    monkeypatch.setattr(backbone_module, "fitting_batch", fitting)
    options = options_of(data, tmp_path, batch_size=None, workers=3, size=48)
    extraction = plan_of(options).extraction
    found = with_batch_size(Picky(64), extraction, torch.device("cuda", 0))
    assert found.batch_size == 32
    assert asked == [3 * PIECE_FRAMES * Picky(64).channels * 48 * 48]


def test_batches_are_tried_with_what_is_held_beside_them(monkeypatch) -> None:
    held: list[int] = []
    empty = torch.empty

    def small(*shape, **options):
        if shape == (10**6,):
            held.append(len(held))
            if len(held) < 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return empty(*shape, **options)

    monkeypatch.setattr(torch, "empty", small)
    assert fitting_batch(Picky(64), [64, 3, 4, 4], CPU, beside=10**6) == 16
    assert len(held) == 3


def test_one_input_that_does_not_fit() -> None:
    with pytest.raises(InputError, match=r"3 x 4 x 4.*fit.*--size"):
        fitting_batch(Picky(0), [4, 3, 4, 4], CPU)


def test_a_given_batch_size_is_not_searched(tmp_path: Path, data: Path) -> None:
    fixed = plan_of(options_of(data, tmp_path, batch_size=8)).extraction
    assert with_batch_size(Picky(1), fixed, torch.device("cuda", 0)) is fixed
    unset = plan_of(options_of(data, tmp_path, batch_size=None)).extraction
    assert with_batch_size(Picky(1), unset, CPU) is unset


@pytest.mark.parametrize(("size", "words"), [(8, "--batch-size 4"), (1, "smaller --size")])
def test_too_little_memory_later_says_what_to_start_with(
    tmp_path: Path, data: Path, monkeypatch, size: int, words: str
) -> None:
    calls: list[int] = []
    run = BatchRunner._run

    def full(self, inputs):
        calls.append(len(inputs))
        if len(calls) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run(self, inputs)

    monkeypatch.setattr(BatchRunner, "_run", full)
    with pytest.raises(InputError, match=f"{size}; .*{words}"):
        build(options_of(data, tmp_path, batch_size=size))


def test_the_same_bits_with_any_number_of_processors(
    tmp_path: Path, data: Path, monkeypatch
) -> None:
    threads = torch.get_num_threads()
    found = []
    try:
        for processors in (1, 3, 8):
            torch.set_num_threads(processors)
            assert concurrency_of(CPU) == (processors, 1)
            store = build(options_of(data, tmp_path / str(processors), batch_size=3, **FIXED))
            assert torch.get_num_threads() == processors
            found.append(all_rows(store))
            assert store.attributes["numerics"]["threads"] == 1
        torch.set_num_threads(20)
        assert concurrency_of(CPU) == (6, 3)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


class Counted(torch.nn.Module):
    """Knows how many threads were in it, or in its `enter`, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.now, self.most = Lock(), 0, 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        sleep(0.002)
        yield
        with self.lock:
            self.now -= 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.enter():
            return x.mean(dim=(2, 3))


def test_decoders_and_batches_take_turns(monkeypatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    monkeypatch.setattr(batch_runner_module, "processors", lambda: 2)
    counted = Counted()
    runner = BatchRunner(counted, [1, 3, 4, 4], CPU)
    assert runner.count == 2

    def decode() -> None:
        for _ in range(20):
            with runner.turns, counted.enter():
                pass

    decoders = [Thread(target=decode) for _ in range(3)]
    for decoder in decoders:
        decoder.start()
    batches = [runner.submit([torch.full((3, 4, 4), float(n))]) for n in range(20)]
    assert [int(batch.result()[0, 0]) for batch in batches] == list(range(20))
    for decoder in decoders:
        decoder.join()
    assert counted.most == 2


class HeldRunner:
    """BatchRunner whose results come when they are asked for."""

    count = 2

    def __init__(self) -> None:
        self.waiting: list[tuple[Future, torch.Tensor]] = []
        self.most = 0

    def submit(self, inputs: list[torch.Tensor]) -> Future:
        runner = self

        class Result(Future):
            def result(self, timeout=None):
                runner.waiting.remove(own)
                return own[1]

        own = (Result(), torch.stack(inputs))
        self.waiting.append(own)
        self.most = max(self.most, len(self.waiting))
        return own[0]


def test_batches_that_wait_are_bounded_and_come_back_in_place() -> None:
    runner, ticks = HeldRunner(), []
    batches = Batches(runner, 4, lambda inputs, frames: ticks.append(inputs), Timings())
    units = [UnitFeatures(count, 2) for count in (30, 9)]
    for unit, count in zip(units, (30, 9), strict=True):
        for number in range(count):
            x = "its data are corrupt" if number % 5 == 3 else torch.full((2,), float(number))
            batches.add(x, unit)
        batches.flush(unit)
    assert len(runner.waiting) == runner.most
    batches.drain()
    assert runner.most == runner.count + 1
    assert sum(ticks) == 24 + 7
    for unit, count in zip(units, (30, 9), strict=True):
        assert unit.complete
        expected = np.arange(count, dtype=np.float32)
        expected[3::5] = np.nan
        np.testing.assert_array_equal(unit.features, np.stack([expected, expected], axis=1))
        assert unit.failed == dict.fromkeys(range(3, count, 5), "its data are corrupt")


def test_the_next_unit_is_under_way_while_one_is_written(
    tmp_path: Path, data: Path, monkeypatch
) -> None:
    from pipeline.build import executors as machines

    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * 8)
    sent: list[int] = []
    written: list[int] = []
    submit, write = BatchRunner.submit, machines.write_unit

    def counted(self, inputs):
        sent.append(len(inputs))
        return submit(self, inputs)

    def noted(files, unit, rows, *rest):
        written.append(len(sent))
        return write(files, unit, rows, *rest)

    monkeypatch.setattr(BatchRunner, "submit", counted)
    monkeypatch.setattr(machines, "write_unit", noted)
    build(options_of(data, tmp_path, batch_size=2, **FIXED))
    # The first unit has 8 inputs, so 4 batches; when it is written others have been sent.
    assert written[0] > 4
    assert written[-1] == len(sent)


def test_summary(tmp_path: Path, data: Path) -> None:
    options = options_of(data, tmp_path, **FIXED)
    store = build(options)
    record = json.loads(store.path.with_name(f"{store.path.name}.build.json").read_text())
    # train.mp4 up to frame 16 and the others whole; the decoder gives frames before them, too.
    assert record["frames_used"] == 16 + 17 + FRAMES
    assert FRAMES + 20 + 16 <= record["frames_decoded"] <= 3 * FRAMES
    text = timing_table(plan_of(options), record["seconds"])
    rows = [line.split() for line in text.splitlines() if line.endswith(" %")]
    shares = {row[0]: int(row[-2]) for row in rows}
    assert {"index", "write", "seal", "other", "total"} <= shares.keys()
    shown = [int(row[-2]) for row in rows]  # the last one is the total
    assert abs(sum(shown[:-1]) - 100) <= len(shown)
    for stage in ("decode", "preprocess", "backbone"):
        assert stage not in shares
        assert f"{stage} " in text
    decoded = f"frames decoded {record['frames_decoded']}, used {record['frames_used']}"
    assert decoded in text.splitlines()
    assert text.splitlines()[-1].removeprefix("bottleneck: ") in (
        "decode", "preprocess", "backbone", "write",
    )  # fmt: skip


def test_blocks_are_used_again_once_nobody_holds_a_tensor_of_them() -> None:
    blocks = Blocks()
    first = blocks.take([2, 3])
    place, part = first.data_ptr(), first[1]
    del first
    other = blocks.take([2, 3])
    assert other.data_ptr() != place  # a part of the first one is held
    del part
    assert blocks.take([3, 2]).data_ptr() == place
    assert blocks.take([7]).shape == (7,)
