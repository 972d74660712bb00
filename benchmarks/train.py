"""One epoch of training against the usual way, a file a clip behind torch's DataLoader.

::

    python benchmarks/train.py [--clips 6600] [--rounds 5] [--device cuda] [--skip compile]
    python benchmarks/train.py --own-steps 30 60

Both sides train the same head with the same optimizer, loss, augmentation and threads, on the same
clips of 16 steps x 512; with `--own-steps`, clips are longer, and both resample them to 16 steps,
the usual way whenever it has read one. Each contestant has a process of its own, with the settings
that it comes with: featstore's loop those of ``featstore train``, the usual loop torch's and the C
library's defaults. They take turns in rounds; a ratio is the median of the ratios within a round.
A loop whose data cost nothing, which no loop around this head can beat, and what goes beyond the
data (fused optimizer, compiled head, mixed precision) are listed separately, against featstore
without it. Last come the seconds from the command to the end of the first step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from loaders import collate
from report import machine
from synthetic import Size, contents, generate
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, WeightedRandomSampler

from featstore import Store
from featstore.format.contents import Contents
from featstore.reading.store import open_store
from featstore.reading.stream import resampled
from featstore.writing.writer import StoreWriter
from models.heads import Head, build_head
from pipeline.train.data.augment import add_noise, mixup
from pipeline.train.data.feed import Feed, TensorBatch
from pipeline.train.imbalance import sampling_probabilities
from pipeline.train.learner import Learner
from pipeline.train.recipes.load import Recipe, load_recipe

Epoch = Callable[[], float]
STEPS, DIM, CLASSES = 16, 512, 34
TARGET, START = 1.25, "under 3 s"
NO_DATA = "one batch again and again"  # as fast as any loop around this head can be
FURTHER = {
    NO_DATA: [],
    "fused optimizer": [],
    "compile": [],
    "bfloat16": ["train.precision=bf16"],
}
USUAL = {"DataLoader, 0 workers": 0, "DataLoader, 2 workers": 2}
OURS = {"GOMP_SPINCOUNT": "30000"}  # as `pipeline.cli` sets it
CONTEXT = get_context("spawn")
FIRST_STEP = """
import sys, time
from pipeline.train import learner
plain = learner.Learner._step
def first(self, batch):
    plain(self, batch)
    print(time.time() - float(sys.argv.pop()))
    sys.stdout.flush()
    import os
    os._exit(0)
learner.Learner._step = first
"""


class Files(torch.utils.data.Dataset[tuple[Any, int]]):
    """One .npy file a clip."""

    def __init__(self, folder: Path, labels: np.ndarray) -> None:
        self.folder, self.labels = folder, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, clip: int) -> tuple[Any, int]:
        rows = np.load(self.folder / f"{clip}.npy")
        if len(rows) != STEPS:
            rows = rows[resampled(len(rows), STEPS)]
        return rows, int(self.labels[clip])


def made_store(folder: Path, clips: int, low: int, high: int) -> Store:
    """Write clips as a store whose first tenth is val, and as a file each."""
    drawn = generate(folder, Size(clips, low, high, DIM, seed=0))
    made: Contents = contents(drawn.row_size, DIM)
    number = np.arange(clips)
    made.columns.update(
        label=number % CLASSES,
        label_name=np.array([f"label {i}" for i in range(CLASSES)]),
        split=(number % 10 == 0).astype(np.int64),
        subject=(number % 10 == 0).astype(np.int64),
        subject_name=np.array(["ann", "bob"]),
    )
    writer = StoreWriter(folder / "store.zarr", made)
    for unit, (first, last) in enumerate(made.layout.units()):
        writer.write(unit, drawn.rows[first:last])
    writer.seal()
    (folder / "npy").mkdir(exist_ok=True)
    for clip, rows in enumerate(drawn.each()):
        np.save(folder / "npy" / f"{clip}.npy", rows)
    return open_store(folder / "store.zarr")


def plain_optimizer(recipe: Recipe, head: nn.Module) -> torch.optim.Optimizer:
    """Return torch's optimizer as it comes; both sides have it."""
    train = recipe.train
    return torch.optim.AdamW(head.parameters(), lr=train.lr, weight_decay=train.weight_decay)


class Repeated(Feed):
    """Gives its first batch again and again, so that data cost nothing."""

    def batches(self, clips: np.ndarray, batch_size: int, **more: Any) -> Iterator[TensorBatch]:
        """Yield as many batches as an epoch has."""
        first = next(super().batches(clips, batch_size, **more))
        for _ in range(0, len(clips), batch_size):
            yield first


def head_of(recipe: Recipe, device: torch.device) -> Head:
    """Return the head of both sides, with the same first weights."""
    torch.manual_seed(0)
    options = recipe.head.model_dump(exclude={"num_classes"})
    return build_head(features=DIM, classes=CLASSES, **options).to(device)


def usual_epoch(store: Store, recipe: Recipe, device: torch.device, workers: int) -> Epoch:
    """Return an epoch as training loops usually have it; it waits for data without counting."""
    head, labels = head_of(recipe, device), store.labels
    optimizer, chance = plain_optimizer(recipe, head), np.random.default_rng(0)
    noise = torch.Generator(device).manual_seed(0)
    weights = sampling_probabilities(labels, CLASSES)
    loader: Any = DataLoader(
        Files(Path(store.path).parent / "npy", labels),
        batch_size=recipe.train.batch_size,
        sampler=WeightedRandomSampler(weights.tolist(), len(labels)),
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )

    def epoch() -> float:
        head.train()
        total = 0.0
        for batch in loader:
            features, mask, own = (tensor.to(device) for tensor in batch)
            targets = functional.one_hot(own, CLASSES).float()
            features = add_noise(features, mask, recipe.augment.noise, generator=noise)
            features, mask, targets = mixup(
                features, mask, targets, recipe.augment.mixup, rng=chance
            )
            loss = functional.cross_entropy(head(features, mask).logits, targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), recipe.train.clip_norm)
            optimizer.step()
            total += loss.item() * len(own)
        return 0.0

    return epoch


def featstore_epoch(
    store: Store, recipe: Recipe, device: torch.device, name: str, threads: int
) -> Epoch:
    """Return an epoch of ``featstore train``, which tells how long it waited for data."""
    clips = np.arange(len(store))
    learner = Learner(head_of(recipe, device), store, recipe, clips, seed=0, threads=threads)
    if name != "fused optimizer":
        learner.optimizer = plain_optimizer(recipe, learner.head)
    if name == NO_DATA:
        learner.feed = Repeated(store, device, steps=recipe.data.steps, held=learner.clips)
    if name == "compile":
        learner.replica = torch.compile(learner.head)

    def epoch() -> float:
        before = learner.waited
        learner.epoch()
        return learner.waited - before

    return epoch


def serve(pipe: Connection, name: str, path: Path, device: torch.device, threads: int) -> None:
    """Be a contestant: run an epoch whenever told to, and say what it took."""
    torch.set_num_threads(threads if name in USUAL or device.type == "cuda" else 1)
    store, recipe = open_store(path), load_recipe("bilstm", FURTHER.get(name, []))
    if name in USUAL:
        epoch = usual_epoch(store, recipe, device, USUAL[name])
    else:
        epoch = featstore_epoch(store, recipe, device, name, threads)
    while pipe.recv():
        since = time.perf_counter()
        waited = epoch()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        pipe.send((time.perf_counter() - since, waited))


class Contestant:
    """A process that runs epochs."""

    def __init__(self, name: str, path: Path, device: torch.device, threads: int) -> None:
        self.name, self.seconds, self.waited = name, list[float](), list[float]()
        self.pipe, theirs = CONTEXT.Pipe()
        given = (theirs, name, path, device, threads)
        with environment({} if name in USUAL else OURS):
            self.process = CONTEXT.Process(target=serve, args=given)
            self.process.start()

    def run(self) -> None:
        """Run an epoch and note what it took."""
        self.pipe.send(True)
        seconds, waited = self.pipe.recv()
        self.seconds.append(seconds)
        self.waited.append(waited)

    def end(self) -> None:
        """Let the process go."""
        self.pipe.send(False)
        self.process.join()


@contextmanager
def environment(more: dict[str, str]) -> Iterator[None]:
    """Add to the environment that a process starts with; what is set there already stays."""
    own = {name: value for name, value in more.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]


def first_step(store: Store, folder: Path) -> float:
    """Return the seconds from starting ``featstore train`` to the end of its first step."""
    code = (
        f"{FIRST_STEP}\nfrom pipeline.cli import main\nmain(sys.argv[1:-1], standalone_mode=False)"
    )
    command = [sys.executable, "-c", code, "train", "--recipe", "tcn"]
    command += ["--store", str(store.path), "--out", str(folder / "run"), str(time.time())]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed.splitlines()[-1])


def main() -> None:
    """Time epochs in turns and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=6600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--own-steps", type=int, nargs=2, default=(STEPS, STEPS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--skip", nargs="*", default=[], choices=list(FURTHER))
    given = parser.parse_args()
    device = torch.device(given.device)
    names = ["featstore", *USUAL, *(name for name in FURTHER if name not in given.skip)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = made_store(folder / "clips", given.clips, *given.own_steps)
        ready = [Contestant(own, Path(store.path), device, given.threads) for own in names]
        for turn in range(given.rounds + 1):  # the first one warms up
            first = turn % len(ready)
            for one in ready[first:] + ready[:first]:
                one.run()
        for one in ready:
            one.end()
        starts = [first_step(store, folder) for _ in range(3)]
    ours = ready[0]
    share = sum(ours.waited) / sum(ours.seconds)
    print(f"python benchmarks/train.py {' '.join(sys.argv[1:])}")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{machine()}; {where}, {given.threads} threads")
    low, high = given.own_steps
    print(
        f"{given.clips} clips of {low} to {high} x {DIM}, resampled to {STEPS}; "
        f"medians of {given.rounds} rounds\n"
    )
    print("| | seconds an epoch | ratio |\n| --- | --- | --- |")
    for one in ready:
        usual, taken = one.name in USUAL, one.seconds[1:]
        pairs = zip(ours.seconds[1:], taken, strict=True)
        ratios = sorted(b / a if usual else a / b for a, b in pairs)
        text = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        if usual:
            word = "met" if median(ratios) >= TARGET else "MISSED"
            text = f"featstore {text}, target {TARGET}: {word}"
        print(f"| {one.name} | {median(taken):.2f} | {'' if one is ours else text} |")
    print(f"\nwaited for data: {100 * share:.2f} % of the epochs, the first read included")
    print(f"from the command to the first step: {median(starts):.2f} s; target: {START}")


if __name__ == "__main__":
    main()
