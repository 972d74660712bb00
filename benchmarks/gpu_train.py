"""The steps of `gpu.py` that train: recipes, several seeds, finetuning, and one under torchrun."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from gpu_build import options_of
from gpu_lab import TUNED_PRECISIONS, Lab, Row, silent
from safetensors.torch import save_file
from synthetic import Size, contents, generate

import featstore
from featstore.writing.writer import StoreWriter
from models.backbones import build_backbone
from pipeline.finetune import Tuning, finetune
from pipeline.runs.folder import unfinished_of
from pipeline.train.recipes.load import Recipe, load_recipe
from pipeline.train.seeds import train_all
from pipeline.train.train import train

STEPS, DIM, CLASSES = 16, 512, 34
FIRST = 1  # epochs that are left out of the median: they read the clips
TUNED = "resnet18"
FEATSTORE = "from pipeline.cli import main; main()"


def clips_of(lab: Lab) -> featstore.Store:
    """Return a store of random clips, written where it is not there yet."""
    path = lab.folder / "clips" / "store.zarr"
    if not path.exists():
        count = lab.sizes.clips
        drawn = generate(path.parent, Size(count, STEPS, STEPS, DIM, seed=0))
        made, number = contents(drawn.row_size, DIM), np.arange(count)
        part = np.where(number % 10 < 2, number % 10 + 1, 0)  # a tenth is val, one is test
        made.columns.update(
            label=number % CLASSES,
            label_name=np.array([f"label {label}" for label in range(CLASSES)]),
            split=part,
            subject=part,
            subject_name=np.array(["ann", "bob", "cid"]),
        )
        writer = StoreWriter(path, made)
        for unit, (first, last) in enumerate(made.layout.units()):
            writer.write(unit, drawn.rows[first:last])
        writer.seal()
    return featstore.open(path)


def devices(lab: Lab) -> list[str]:
    """Return the device, and the CPU to compare with."""
    return list(dict.fromkeys([lab.device, "cpu"]))


def recipe_of(name: str, epochs: int) -> Recipe:
    """Return a recipe that trains for so many epochs."""
    return load_recipe(name, [f"train.epochs={epochs}", "train.patience=null"])


def learn(lab: Lab) -> Iterator[Row]:
    """Train recipes on the device and on the CPU."""
    store = clips_of(lab)
    for name in ("bilstm", "tcn"):
        for device in devices(lab):

            def work(name: str = name, device: str = device) -> Row:
                out = fresh(lab, "run")
                began = time.perf_counter()
                recipe = recipe_of(name, lab.sizes.epochs)
                train(store, recipe, out=out, device=device, log=silent)
                return {"whole": time.perf_counter() - began} | epochs_of(out)

            yield lab.attempt({"recipe": name, "device": device, "clips": len(store)}, work)


def epochs_of(run: Path) -> Row:
    """Return the median seconds of an epoch of a run, and the share of waiting for data."""
    with (run / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        "epochs": len(rows),
        "epoch": median(float(row["seconds"]) for row in rows[FIRST:] or rows),
        "data_share": median(float(row["data_share"]) for row in rows[FIRST:] or rows),
    }


def repeat_seeds(lab: Lab) -> Iterator[Row]:
    """Train one recipe with several seeds, on the device and on the CPU."""
    store, sizes = clips_of(lab), lab.sizes
    recipe = recipe_of("tcn", sizes.seed_epochs)
    for device in devices(lab):

        def one(
            store: featstore.Store, out: Path, seed: int, log: Any, device: str = device
        ) -> object:
            return train(store, recipe, out=out, seed=seed, device=device, log=log)

        def work(trainer: Any = one) -> Row:
            out, began = fresh(lab, "runs"), time.perf_counter()
            seeds = range(sizes.seeds)
            train_all({None: store}, recipe, seeds, out=out, trainer=trainer, log=silent, workers=1)
            return {"whole": time.perf_counter() - began, "epochs": sizes.seed_epochs}

        yield lab.attempt({"recipe": "tcn", "device": device, "seeds": sizes.seeds}, work)


def tune(lab: Lab) -> Iterator[Row]:
    """Finetune the last blocks of a backbone."""
    weights = lab.folder / "weights.safetensors"
    tensors = build_backbone(TUNED).network.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    size = lab.backbones[TUNED]
    for precision in TUNED_PRECISIONS[: 1 if lab.quick else None]:

        def work(precision: str = precision) -> Row:
            out, times = lab.folder / f"tuned-{precision}.safetensors", list[float]()
            out.unlink(missing_ok=True)

            def log(line: str) -> None:
                if line.startswith("epoch"):
                    times.append(time.perf_counter())

            options = options_of(
                lab, "tune.csv", "tuned", TUNED, size, weights=str(weights), precision=precision
            )
            tuning = Tuning(epochs=3, patience=3, frames=1 if lab.quick else 16)
            began = time.perf_counter()
            finetune(options, tuning, out=out, log=log)
            return {
                "whole": time.perf_counter() - began,
                "epoch": median(b - a for a, b in pairwise(times)),
                "frames": tuning.frames * lab.sizes.tune_clips,
            }

        yield lab.attempt({"backbone": TUNED, "precision": precision}, work)


def fresh(lab: Lab, name: str) -> Path:
    """Return a path for a run, at which nothing is left of an earlier one."""
    lab.empty(unfinished_of(lab.folder / name).name)
    return lab.empty(name)


def launch(lab: Lab) -> Iterator[Row]:
    """Train in one process that torchrun starts: by the command, and with gradients over NCCL."""
    store = clips_of(lab)
    out = fresh(lab, "torchrun")
    command = [sys.executable, "-c", FEATSTORE, "train", "--recipe", "tcn", "--seed", 0]
    command += ["--store", store.path, "--device", lab.device, "--out", out]
    command += ["--set", f"train.epochs={lab.sizes.seed_epochs}"]
    nccl = [Path(__file__).with_name("gpu_nccl.py"), store.path, lab.device]
    yield lab.attempt({"what": "featstore train"}, partial(_launched, ["--no-python", *command]))
    yield lab.attempt({"what": "gradients over a process group"}, partial(_launched, nccl))


def _launched(command: list[Any]) -> Row:
    """Run one process under torchrun; return what its last line says, if that is JSON."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    began = time.perf_counter()
    given = [*launcher, "--nproc-per-node", "1", *map(str, command)]
    done = subprocess.run(given, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line]
        raise RuntimeError(lines[0] if lines else done.stderr.strip()[-200:])
    last = done.stdout.strip().splitlines()[-1]
    return {"seconds": time.perf_counter() - began} | (
        json.loads(last) if last.startswith("{") else {"said": last}
    )
