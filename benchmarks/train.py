"""One epoch of training against the usual way, a file a clip behind torch's DataLoader.

::

    python benchmarks/train.py [--clips 6600] [--rounds 5] [--device cuda] [--skip compile]
    python benchmarks/train.py --own-steps 30 60

Both sides train the same head with the same optimiser, loss, augmentation and threads, on the same
clips of 16 steps x 512; with `--own-steps`, clips are longer, and both resample them to 16 steps,
the usual way whenever it has read one. They take turns in rounds; a ratio is the median of the
ratios within a round. What goes beyond the data (fused optimiser, compiled head, mixed precision)
is listed separately, against featstore without it. Last come the seconds from the command to the
end of the first step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from loaders import collate
from report import machine
from synthetic import Size, contents, generate
from torch import nn
from torch.utils.data import DataLoader

from featstore import Store
from featstore.contents import Contents
from featstore.store import open_store
from featstore.stream import resampled
from featstore.writer import StoreWriter
from models.heads import Head, HeadOutput, build_head
from pipeline.config import Recipe, load_recipe
from pipeline.feed import Feed, TensorBatch
from pipeline.train import Learner

STEPS, DIM, CLASSES = 16, 512, 34
TARGET, START = 1.25, "under 3 s"
FIRST_STEP = """
import sys, time
from pipeline import train
plain = train.Learner._step
def first(self, batch):
    plain(self, batch)
    print(time.time() - float(sys.argv.pop()))
    sys.stdout.flush()
    import os
    os._exit(0)
train.Learner._step = first
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


class LoaderFeed(Feed):
    """Stands in for a feed: the same interface over a DataLoader, in its own random order."""

    def __init__(self, store: Store, device: torch.device, loader: Any) -> None:
        super().__init__(store, device)
        self.loader = loader

    def batches(self, *given: Any, **more: Any) -> Iterator[TensorBatch]:
        """Yield one epoch."""
        for features, mask, labels in self.loader:
            moved = (tensor.to(self.device) for tensor in (features, mask, labels))
            yield TensorBatch(*moved)


class UsualLearner(Learner):
    """Looks at the loss after every step, as most training loops do."""

    def _step(self, batch: TensorBatch) -> torch.Tensor:
        return torch.tensor(super()._step(batch).tolist())


class Mixed(Head):
    """A head in bfloat16 where torch deems it safe."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> HeadOutput:
        """Classify a batch of clips."""
        with torch.autocast(features.device.type, torch.bfloat16):
            logits, attention = self.head(features, mask)
        return HeadOutput(logits.float(), attention)


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


def learner_of(
    store: Store, recipe: Recipe, device: torch.device, *, usual: bool = False, fused: bool = False
) -> Learner:
    """Return a learner from the same first weights; both sides with torch's plain optimiser."""
    torch.manual_seed(0)
    options = recipe.head.model_dump(exclude={"num_classes"})
    head = build_head(features=DIM, classes=CLASSES, **options).to(device)
    kind = UsualLearner if usual else Learner
    learner = kind(head, store, recipe, np.arange(len(store)), seed=0)
    if not fused:
        decay = recipe.train.weight_decay
        learner.optimizer = torch.optim.AdamW(
            head.parameters(), lr=recipe.train.lr, weight_decay=decay
        )
    return learner


def contestants(
    store: Store, recipe: Recipe, device: torch.device, skip: list[str]
) -> dict[str, Learner]:
    """Return the learners to time, ready for an epoch."""
    found = {"featstore": learner_of(store, recipe, device)}
    for workers in (0, 2):
        usual = learner_of(store, recipe, device, usual=True)
        loader: Any = DataLoader(
            Files(Path(store.path).parent / "npy", store.labels),
            batch_size=recipe.train.batch_size,
            shuffle=True,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )
        usual.feed = LoaderFeed(store, device, loader)
        found[f"DataLoader, {workers} workers"] = usual
    found["fused optimiser"] = learner_of(store, recipe, device, fused=True)
    wrapped: dict[str, Callable[[Any], nn.Module]] = {
        "compile": torch.compile,
        "bfloat16": Mixed,
    }
    for name, wrap in wrapped.items():
        if name not in skip:
            found[name] = learner_of(store, recipe, device)
            found[name].head = wrap(found[name].head)  # type: ignore[assignment]
    return found


def seconds_of(learner: Learner, device: torch.device) -> float:
    """Time an epoch."""
    since = time.perf_counter()
    learner.epoch()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - since


def first_step(store: Store, folder: Path) -> float:
    """Return the seconds from starting ``featstore train`` to the end of its first step."""
    code = (
        f"{FIRST_STEP}\nfrom pipeline.cli import main\nmain(sys.argv[1:-1], standalone_mode=False)"
    )
    command = [sys.executable, "-c", code, "train", "--store", str(store.path)]
    command += ["--out", str(folder / "run"), str(time.time())]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(said.splitlines()[-1])


def main() -> None:
    """Time epochs in turns and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=6600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--own-steps", type=int, nargs=2, default=(STEPS, STEPS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--skip", nargs="*", default=[], choices=["compile", "bfloat16"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, recipe = torch.device(given.device), load_recipe("bilstm")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = made_store(folder / "clips", given.clips, *given.own_steps)
        ready = contestants(store, recipe, device, given.skip)
        taken: dict[str, list[float]] = {name: [] for name in ready}
        for turn in range(given.rounds + 1):  # the first one warms up
            order = list(ready)[turn % len(ready) :] + list(ready)[: turn % len(ready)]
            for one in order:
                seconds = seconds_of(ready[one], device)
                taken[one].append(seconds)
        share = ready["featstore"].waited / sum(taken["featstore"])
        taken = {name: seconds[1:] for name, seconds in taken.items()}
        starts = [first_step(store, folder) for _ in range(3)]
    waits = [
        f"{name}={os.environ[name]} "
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
        if name in os.environ
    ]
    print(f"{''.join(waits)}python benchmarks/train.py {' '.join(sys.argv[1:])}")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{machine()}; {where}, {given.threads} threads")
    low, high = given.own_steps
    print(
        f"{given.clips} clips of {low} to {high} x {DIM}, resampled to {STEPS}; "
        f"medians of {given.rounds} rounds\n"
    )
    print("| | seconds an epoch | ratio |\n| --- | --- | --- |")
    for one, seconds in taken.items():
        usual = one.startswith("DataLoader")
        pairs = zip(taken["featstore"], seconds, strict=True)
        ratio = median(b / a if usual else a / b for a, b in pairs)
        word = "met" if ratio >= TARGET else "MISSED"
        text = f"featstore {ratio:.2f}, target {TARGET}: {word}" if usual else f"{ratio:.2f}"
        print(f"| {one} | {median(seconds):.2f} | {'' if one == 'featstore' else text} |")
    print(f"\nwaited for data: {100 * share:.2f} % of the epochs, the first read included")
    print(f"from the command to the first step: {median(starts):.2f} s; target: {START}")


if __name__ == "__main__":
    main()
