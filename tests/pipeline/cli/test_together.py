"""Real processes on one folder of stores at once."""

import subprocess
import sys
from pathlib import Path

import numpy as np

import featstore
from featstore.manage.verify import verify
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.builds import build, options_of, silent, write_dataset
from tests.folders import ROOT

FLAGS = ["--source", "table", "--backbone", "squeezenet1_1", "--weights", "random"]
FLAGS += ["--pixels", "luma", "--size", "32", "--device", "cpu", "--batch-size", "8"]
CLI = "import torch; torch.set_num_threads(1); from pipeline.cli import main; main()"


def started(data: Path, root: Path, *more: str) -> subprocess.Popen[str]:
    flags = [*FLAGS, "--data", str(data), "--stores", str(root), *more]
    return subprocess.Popen(
        [sys.executable, "-c", CLI, "build", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_builds_of_one_key_a_reader_and_a_training(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    expected = build(options_of(data, tmp_path / "undisturbed"))
    root = tmp_path / "features"
    other = build(options_of(data, root, size=40))
    builds = [started(data, root) for _ in range(2)]
    recipe = load_recipe("bilstm", ["train.epochs=2", "head.hidden=4"])
    run = train(other, recipe, out=tmp_path / "run", device="cpu", log=silent)
    assert (run / "metrics.json").is_file()
    while any(process.poll() is None for process in builds):
        for path in root.glob("*.zarr"):
            store = featstore.open(path, check=True)  # whole as soon as it is there
            if store.key != other.key:
                np.testing.assert_array_equal(
                    np.concatenate(list(store)), np.concatenate([*expected])
                )
    outputs = [process.communicate() for process in builds]
    codes = sorted(process.returncode for process in builds)
    assert codes in ([0, 0], [0, 2]), outputs
    for process, (_, errors) in zip(builds, outputs, strict=True):
        if process.returncode == 2:
            last = errors.strip().splitlines()[-1]
            assert last.startswith("Error: Another process is building the store")
    paths = sorted(root.glob("*.zarr"))
    assert len(paths) == 2
    assert [finding for path in paths for finding in verify(path)] == []
    assert not list(root.glob(".*.building"))
