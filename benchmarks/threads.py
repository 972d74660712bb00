"""Epochs with the threads that `featstore train` chooses, against one thread, beside other work.

::

    python benchmarks/threads.py [--recipes mlp tcn bilstm] [--busy 0 1 2] [--steps 600]

Every contestant trains the same recipe on the same clips of 16 steps x 512, from its first step, in
a process of its own: with the threads that it chooses, with one, and (few steps, since they are
slow) with all for every step. Beside them run processes that only compute. The first two take turns
of 20 steps. `whole` is the ratio of all their seconds, with the choosing; `later` is the median of
the ratios within a round, of the second half of the rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
import torch
from report import machine
from train import CONTEXT, OURS, environment, head_of, made_store

from featstore.reading.store import open_store
from pipeline.train.learner import Learner
from pipeline.train.recipes.load import load_recipe
from pipeline.train.threads import StepThreads

TURN = 20  # steps
CHOOSES, ONE, ALL = "chooses", "one thread", "all threads"


class Fixed(StepThreads):
    """Computes every step with all threads."""

    def run(self, compute):  # type: ignore[no-untyped-def]
        """Compute a step."""
        return compute()


def serve(pipe: Connection, side: str, recipe_name: str, path: Path, threads: int) -> None:
    """Be a contestant: train some steps whenever told to, and say what they took."""
    torch.set_num_threads(threads if side == ALL else 1)
    device, store = torch.device("cpu"), open_store(path)
    recipe = load_recipe(recipe_name)
    most = threads if side == CHOOSES else 1
    clips = np.arange(TURN * recipe.train.batch_size)
    head = head_of(recipe, device)
    learner = Learner(head, store, recipe, clips, seed=0, threads=most)
    if side == ALL:
        learner.threads = Fixed(head, 1)
    next(learner.feed.batches(clips, 1))  # reads the store
    while pipe.recv():
        since = time.perf_counter()
        learner.epoch()
        pipe.send((time.perf_counter() - since, learner.threads.choice.count))


class Contestant:
    """A process that trains."""

    def __init__(self, side: str, recipe: str, path: Path, threads: int) -> None:
        self.seconds, self.count = list[float](), 1
        self.pipe, theirs = CONTEXT.Pipe()
        with environment(OURS):
            self.process = CONTEXT.Process(target=serve, args=(theirs, side, recipe, path, threads))
            self.process.start()

    def run(self) -> None:
        """Train some steps and note what they took."""
        self.pipe.send(True)
        seconds, self.count = self.pipe.recv()
        self.seconds.append(seconds)

    def end(self) -> None:
        """Let the process go."""
        self.pipe.send(False)
        self.process.join()


def compute_for_ever() -> None:
    """Keep a processor busy."""
    numbers = np.random.default_rng(0).random((200, 200))
    while True:
        numbers = np.sort(numbers, axis=0)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Run processes that only compute."""
    others = [CONTEXT.Process(target=compute_for_ever, daemon=True) for _ in range(count)]
    for other in others:
        other.start()
    time.sleep(2 if others else 0)
    try:
        yield
    finally:
        for other in others:
            other.kill()


def compare(recipe: str, path: Path, threads: int, rounds: int) -> str:
    """Train in turns, and return the cells of a row."""
    sides = (CHOOSES, ONE, ALL)
    ours, one, every = (Contestant(side, recipe, path, threads) for side in sides)
    for turn in range(rounds):
        for side in (ours, one) if turn % 2 else (one, ours):
            side.run()
    for _ in range(2):
        every.run()
    for side in (ours, one, every):
        side.end()
    whole = sum(ours.seconds) / sum(one.seconds)
    ratios = [a / b for a, b in zip(ours.seconds, one.seconds, strict=True)]
    slow = every.seconds[-1] / median(one.seconds)
    step = 1e3 * median(one.seconds) / TURN
    later = median(ratios[rounds // 2 :])
    return f"{step:.1f} ms | {whole:.2f} | {later:.2f} | {ours.count} | {slow:.2f}"


def main() -> None:
    """Compare with every recipe beside every number of busy processes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=["mlp", "tcn", "bilstm"])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    print(f"python benchmarks/threads.py {' '.join(sys.argv[1:])}")
    print(f"{machine()}; CPU, at most {options.threads} threads, {options.steps} steps\n")
    print("| recipe | busy processes | a step with one thread | whole | later | threads at the end "
          "| always all |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        store = made_store(Path(name) / "clips", TURN * 32, 16, 16)
        for count in options.busy:
            with busy(count):
                for recipe in options.recipes:
                    rounds = options.steps // TURN
                    cells = compare(recipe, Path(store.path), options.threads, rounds)
                    print(f"| `{recipe}` | {count} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
