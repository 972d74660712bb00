"""What the portfolio costs beside one training of ``bilstm``, on a store of Drive&Act's size.

::

    OMP_NUM_THREADS=1 python benchmarks/portfolio.py --share 0.29
    OMP_NUM_THREADS=1 python benchmarks/portfolio.py --share 0.05 --bound

The first trains ``bilstm`` and the portfolio. Seconds are of the processor, so that other work
beside counts less. With a share of the clips the schedule is the same in epochs as long as val has
400 clips. The second times an epoch of each recipe alone, and says what the schedule costs at most:
all recipes for 4 epochs, the dearest four for 8 more, the winner to its end, and two recipes that
are averaged with it, standardised alike, from 4 epochs to their end.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from synthetic import contents

import featstore
from featstore.format import schema
from featstore.writing.writer import StoreWriter
from pipeline.runs.files import read_metrics
from pipeline.train.choose import MOST_AVERAGED
from pipeline.train.recipes.load import Recipe
from pipeline.train.recipes.portfolio import Portfolio, load_recipes
from pipeline.train.train import train
from pipeline.train.trial import FIRST_RUNG, REDUCTION, learner_of, promoted

CLIPS = {"train": 6600, "val": 1400, "test": 100}
STEPS, DIM, CLASSES, SUBJECTS = 16, 512, 34, 15


def write_store(path: Path, share: float) -> featstore.Store:
    """Write clips of 34 classes that a head can learn: a direction and a drift for each."""
    rng = np.random.default_rng(0)
    counts = {part: round(share * count) for part, count in CLIPS.items()}
    parts = np.repeat(np.arange(3), list(counts.values()))
    total = len(parts)
    made = contents(np.full(total, STEPS), DIM)
    label = rng.integers(0, CLASSES, total)
    subject = np.where(parts == 0, rng.integers(0, 10, total), 10 + 2 * parts)
    columns = {
        **made.columns,
        "label": label,
        "label_name": np.array([f"class {i}" for i in range(CLASSES)]),
        "split": parts,
        "split_name": np.array(schema.PARTS),
        "subject": subject,
        "subject_name": np.array([f"person {i}" for i in range(SUBJECTS)]),
    }
    made = replace(made, columns=columns)
    centre, drift = rng.normal(size=(2, CLASSES, DIM)).astype(np.float32)
    person = rng.normal(size=(SUBJECTS, DIM)).astype(np.float32)
    rows = np.repeat(0.3 * centre[label] + person[subject], STEPS, axis=0)
    time_of_step = np.tile(np.linspace(-1, 1, STEPS, dtype=np.float32), total)[:, None]
    rows += 0.3 * time_of_step * np.repeat(drift[label], STEPS, axis=0)
    rows += 3 * rng.normal(size=rows.shape).astype(np.float32)
    writer = StoreWriter(path, made)
    for number, (first, last) in enumerate(made.layout.units()):
        writer.write(number, rows[first:last])
    writer.seal()
    return featstore.open(path)


def seconds(store: featstore.Store, recipe: Recipe | Portfolio, out: Path) -> float:
    """Train, print what came out, and return the processor's seconds."""
    began = time.process_time()
    metrics = read_metrics(train(store, recipe, out=out, device="cpu", log=print))
    took = time.process_time() - began
    print(f"{recipe.name}: {took:.0f} s, {metrics['recipe']}, {metrics['epochs']} epochs")
    return took


def bound(store: featstore.Store) -> None:
    """Time an epoch of each recipe, and print what the schedule costs at most."""
    portfolio, device = load_recipes("auto"), torch.device("cpu")
    assert isinstance(portfolio, Portfolio)
    parts = store.split("train"), store.split("val")
    costs = {}
    for recipe in portfolio.recipes:
        with learner_of(store, recipe, *parts, seed=0, device=device) as learner:
            if not learner.head.learns:
                continue
            learner.predict(parts[1])  # reads the features
            began = time.process_time()
            learner.epoch()
            learner.predict(parts[1])
            costs[recipe.name] = time.process_time() - began
            print(f"{recipe.name}: {costs[recipe.name]:.2f} s an epoch")
    dear, one = sorted(costs.values(), reverse=True), costs["bilstm"]
    alike: dict[str, list[float]] = {}
    for recipe in portfolio.recipes:
        if recipe.name in costs:
            alike.setdefault(recipe.data.standardise, []).append(costs[recipe.name])
    rungs = FIRST_RUNG * sum(dear)
    rungs += (REDUCTION - 1) * FIRST_RUNG * sum(dear[: promoted(len(dear))])
    for epochs in (25, 60):  # the fewest that patience allows, and all
        ends = []
        for group in alike.values():
            first, *others = sorted(group, reverse=True)[:MOST_AVERAGED]
            end = (epochs - REDUCTION * FIRST_RUNG) * first
            ends.append(end + (epochs - FIRST_RUNG) * sum(others))
        most = (rungs + max(ends)) / (epochs * one)
        print(f"{epochs} epochs: at most {most:.2f} trainings of bilstm")


def main() -> None:
    """Train ``bilstm`` and the portfolio; print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the clips")
    parser.add_argument("--bound", action="store_true", help="time single epochs only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store.zarr", options.share)
        if options.bound:
            bound(store)
            return
        one = seconds(store, load_recipes("bilstm"), Path(folder) / "bilstm")
        auto = seconds(store, load_recipes("auto"), Path(folder) / "auto")
    print(f"the portfolio takes {auto / one:.2f} trainings of bilstm")


if __name__ == "__main__":
    main()
