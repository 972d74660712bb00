"""Two processes that train together, as torchrun starts them, against one alone."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

import featstore
from models.losses import adjusted, cross_entropy, focal
from pipeline.cli import main
from pipeline.runs.files import read_metrics
from pipeline.runs.folder import CHECKPOINT, unfinished_of
from pipeline.system import distributed as distributed_module
from pipeline.system.distributed import Processes, process_group, processes
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.folders import ROOT
from tests.stores import contents, write_store

PATIENCE = 240
ALONE = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
BATCH = 4
COMMAND = """
import pipeline.train.results
from pipeline.cli import main
pipeline.train.results.draw_figures = lambda folder, *rest: folder.mkdir()
main()
"""
WATCH = """
import json
from models.heads import build_head
from pipeline.train.learner import Learner
from pipeline.train.recipes.load import load_recipe

def watch(store, file):
    recipe = load_recipe("baseline", ["train.batch_size=4", "data.steps=null"])
    head, seen = build_head("linear", store.dim, len(store.classes)), []
    head.register_forward_pre_hook(lambda _, given: seen[-1].append(given[0][:, 0, 0].tolist()))
    learner = Learner(head, store, recipe, store.split("train"), seed=0)
    for epoch in range(2):
        seen.append([])
        learner.epoch()
    file.write_text(json.dumps(seen))
"""
TRAIN = f"""{WATCH}
import sys
from pathlib import Path
import featstore, pipeline.train.results
from pipeline.system.distributed import process_group
from pipeline.train.train import train
pipeline.train.results.draw_figures = lambda folder, *rest: folder.mkdir()
store, out = featstore.open(sys.argv[1]), Path(sys.argv[2])
with process_group("cpu") as group:
    for number, (recipe, overrides) in enumerate(json.loads(sys.argv[3])):
        train(store, load_recipe(recipe, overrides), out=out / str(number), seed=3, device="cpu")
    watch(store, out / f"{{group.rank}} of 2")
"""
RECIPES = [
    (
        "bilstm",
        ["augment.crop=0.6", "augment.drop=0.2", "augment.mixup=0.4", "train.clip_norm=0.1"],
    ),
    ("tcn", ["train.imbalance=class_weights", "train.label_smoothing=0.1", "data.steps=null"]),
    ("transformer", ["train.imbalance=focal", "train.schedule=plateau", "train.monitor=loss"]),
    ("mlp", ["train.imbalance=sampler", "data.standardise=train"]),
    ("baseline", ["train.imbalance=balanced_softmax"]),
]
# Dropout draws otherwise in every process.
SAME = ["head.dropout=0", "train.epochs=3", f"train.batch_size={BATCH}"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> featstore.Store:
    """A store with 21 training clips: batches of 4 leave one for two processes to share."""
    imported = {"imported": "csv", "dtype": "float32"}
    made = contents([3, 5, 4, 6, 2, 4, 1] * 9, features=imported)
    path = write_store(tmp_path_factory.mktemp("features") / "s.zarr", made)
    found = featstore.open(path)
    assert len(found.split("train")) == 5 * BATCH + 1
    return found


def environment(**more: object) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ALONE}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | {
        key: str(value) for key, value in more.items()
    }


def torchrun(program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in two processes, as a user does."""
    script = folder / "program.py"
    script.write_text(program)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *start, str(script), *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done


def start_ranks(program: str, *arguments: str) -> list[subprocess.Popen[str]]:
    """Start a program in two processes, as torchrun does."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=environment(RANK=rank, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def finish(ranks: list[subprocess.Popen[str]]) -> str:
    """Wait for two processes; return what the first printed."""
    try:
        outputs = [rank.communicate(timeout=PATIENCE) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    for rank, (_, stderr) in zip(ranks, outputs, strict=True):
        assert rank.returncode == 0, stderr
    return outputs[0][0]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def together(store: featstore.Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave of trainings, and of watching what each learns from."""
    folder = tmp_path_factory.mktemp("together")
    recipes = json.dumps([(name, [*SAME, *overrides]) for name, overrides in RECIPES])
    finish(start_ranks(TRAIN, str(store.path), str(folder), recipes))
    return folder


def test_weights_are_those_of_one_process(
    store: featstore.Store, together: Path, tmp_path: Path
) -> None:
    for number, (name, overrides) in enumerate(RECIPES):
        recipe, one = load_recipe(name, [*SAME, *overrides]), tmp_path / str(number)
        train(store, recipe, out=one, seed=3, device="cpu", log=lambda line: None)
        two = together / str(number)
        ours, theirs = (weights_of(run) for run in (two, one))
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5, msg=name)
        for row, expected in zip(history(two), history(one), strict=True):
            assert row == pytest.approx(expected, rel=1e-4)
        assert (two / "predictions.csv").is_file()
        assert sorted(path.name for path in two.iterdir()) == sorted(
            path.name for path in one.iterdir()
        )


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """Read weights, but for the bias of attention's keys.

    A softmax does not see it: its gradient is rounding alone, of which Adam makes steps.
    """
    weights = load_file(run / "weights.safetensors")
    for name, tensor in weights.items():
        if name.endswith("in_proj_bias"):
            tensor.chunk(3)[1].zero_()
    return weights


def history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        {key: float(value) for key, value in row.items() if key not in {"seconds", "data_share"}}
        for row in rows
    ]


def test_every_clip_is_learnt_from_once(
    store: featstore.Store, together: Path, tmp_path: Path
) -> None:
    here: dict[str, Any] = {}
    exec(WATCH, here)  # noqa: S102 - the same, in this process alone
    here["watch"](store, tmp_path / "alone")
    files = (together / "0 of 2", together / "1 of 2", tmp_path / "alone")
    first, second, alone = (json.loads(file.read_text()) for file in files)
    numbers = {float(store[i][0, 0]): i for i in range(len(store))}
    assert len(numbers) == len(store)
    for one, two, whole in zip(first, second, alone, strict=True):
        assert [len(batch) for batch in whole] == [BATCH] * 5 + [1]
        for ours, theirs, batch in zip(one[:-1], two[:-1], whole[:-1], strict=True):
            assert (ours, theirs) == (batch[::2], batch[1::2])
        # One clip is left: both compute it, and it counts in the first process alone.
        assert one[-1] == two[-1] == whole[-1]
        seen = [numbers[value] for batch in [*one, *two[:-1]] for value in batch]
        assert sorted(seen) == store.split("train").tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("clips", [1, 2, 7])
def test_a_batch_is_divided_without_overlap_or_loss(count: int, clips: int) -> None:
    own = [Processes(rank, count).own(clips) for rank in range(count)]
    taken = [clip for rows, weight in own if weight for clip in range(clips)[rows]]
    assert sorted(taken) == list(range(clips))
    assert all(len(range(clips)[rows]) >= 1 for rows, _ in own)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_shares_of_a_loss_add_up(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, generator=generator)
    targets = torch.rand(7, 3, generator=generator)
    weight = torch.tensor([0.5, 2.0, 0.1])
    losses = [
        lambda *given, **more: cross_entropy(*given, weight=weight, **more),
        lambda *given, **more: cross_entropy(*given, **more),
        lambda *given, **more: focal(*given, gamma=1.5, **more),
        lambda *given, **more: adjusted(*given, adjustment=weight, **more),
    ]
    for loss in losses:
        plain = loss(logits, targets, label_smoothing=smoothing)
        shares = [
            loss(logits[r::2], targets[r::2], whole=targets, label_smoothing=smoothing)
            for r in range(2)
        ]
        torch.testing.assert_close(shares[0] + shares[1], plain)


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALONE:
        monkeypatch.delenv(name, raising=False)
    with process_group() as group:
        assert group == processes() == Processes(0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")  # of somebody else
    with process_group() as group:
        assert group == Processes(0, 1)


def arguments(store: featstore.Store, out: Path) -> list[str]:
    """A training with dropout, which differs by process and epoch."""
    values = {
        "head.dropout": 0.3,
        "head.hidden": 8,
        "train.epochs": 12,
        "train.patience": "null",
        "train.batch_size": BATCH,
    }
    flags = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    store_flags = ["--store", str(store.path), "--out", str(out), "--device", "cpu"]
    return ["train", "--recipe", "tcn", *store_flags, *flags]


@pytest.fixture(scope="module")
def undisturbed(store: featstore.Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = torchrun(COMMAND, folder, *arguments(store, folder / "run"))
    (folder / "stdout").write_text(done.stdout)
    return folder / "run"


def test_one_process_speaks_and_writes(store: featstore.Store, undisturbed: Path) -> None:
    lines = (undisturbed.parent / "stdout").read_text().splitlines()
    assert [line[:9] for line in lines if line.startswith("epoch")] == [
        f"epoch {epoch:3d}" for epoch in range(1, 13)
    ]
    assert sum(line.startswith("report ") for line in lines) == 1
    assert sum(line.startswith("without training") for line in lines) == 1
    assert yaml.safe_load((undisturbed / "config.yaml").read_text())["processes"] == 2
    assert read_metrics(undisturbed)["epochs"] == 12
    assert {path.name for path in undisturbed.parent.iterdir()} == {"program.py", "run", "stdout"}
    runs = (store.path.parent / ".runs.jsonl").read_text().splitlines()
    assert sum(str(undisturbed) in line for line in runs) == 1


def test_a_lost_process_ends_the_other_and_both_go_on(
    store: featstore.Store, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ranks = start_ranks(COMMAND, *arguments(store, out))
    first, second = ranks
    assert first.stdout is not None
    assert any(line.startswith("epoch   3") for line in first.stdout)
    second.send_signal(signal.SIGKILL)
    _, stderr = first.communicate(timeout=PATIENCE)
    second.communicate(timeout=PATIENCE)
    assert first.returncode == 2, stderr
    assert stderr.splitlines()[-1].startswith(
        "Error: process 0 lost another process of this training"
    )
    assert not out.exists()
    assert (unfinished_of(out) / CHECKPOINT).is_file()
    stdout = finish(start_ranks(COMMAND, *arguments(store, out)))
    assert "resuming an interrupted training after epoch" in stdout
    for file in ("weights.safetensors", "predictions.csv", "config.yaml"):
        assert (out / file).read_bytes() == (undisturbed / file).read_bytes()


def test_several_runs_are_refused(
    store: featstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed_module, "processes", lambda: Processes(0, 2))
    given = [*arguments(store, tmp_path / "x"), "--seeds", "2"]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 2
    assert "torchrun started 2 processes, which train one run together" in result.stderr
    assert not list(tmp_path.iterdir())


def test_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**given, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(featstore.InputError, match="2 processes on this machine, which has 1 GPUs"),
        process_group("cuda"),
    ):
        pass
    with pytest.raises(featstore.InputError, match=r"'cuda:0',.*GPU for 2"):
        process_group("cuda:0").__enter__()


@pytest.mark.parametrize(
    ("device", "rank", "here", "taken", "backend"),
    [
        ("cuda", 0, 2, 0, "nccl"),
        ("cuda", 1, 2, 1, "nccl"),
        ("auto", 1, 2, 1, "nccl"),
        ("cuda:1", 0, 1, "cuda:1", "nccl"),  # one process on each of two machines
        ("cpu", 1, 2, None, "gloo"),
    ],
)
def test_each_process_takes_a_gpu_of_its_own(
    device: str, rank: int, here: int, taken: object, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": here}
    for name, value in {**given, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    seen: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", seen.append)
    with process_group(device):
        pass
    assert seen == [*([] if taken is None else [taken]), backend]


def test_chance_of_processes_and_epochs_differs() -> None:
    with torch.random.fork_rng():
        drawn = []
        for rank in range(2):
            order = np.random.default_rng(0)
            for _ in range(2):
                before = order.bit_generator.state
                Processes(rank, 2).seed_dropout(order)
                assert order.bit_generator.state == before
                drawn.append(torch.rand(4).tolist())
                order.permutation(9)
        assert len(np.unique(drawn, axis=0)) == 4
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        Processes().seed_dropout(np.random.default_rng(0))
        assert torch.equal(torch.rand(3), expected)
