"""How fast shuffled batches of clips are read from a store, against numpy and other libraries.

All contestants read the same clips from a warm page cache and deliver the same batches, which is
checked. They take turns in rounds, and every ratio is the median of the ratios within a round, so
that what else runs on the machine meets all of them alike::

    python benchmarks/read.py [--data FOLDER]

``benchmarks/requirements.txt`` lists what they need; one that cannot run is shown with its error.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import gc
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import arrays
import loaders
import numpy as np
from report import machine, table, verdicts
from synthetic import RESAMPLED, Clips, Ints, Read, Size, generate, reference

CASES = {
    "equal": "clips of 30 steps",
    "ragged": "clips of 20 to 40 steps, padded under a mask",
    "resampled": f"clips of 20 to 40 steps, resampled to {RESAMPLED}",
}


@dataclass
class Contestant:
    """One way to read.

    Attributes
    ----------
    name : str
    prepare : callable
        Writes its copy of the data and returns the function of a round's number that begins an
        epoch.
    batches : int
        How many a round reads.
    shuffle : str
        What it says of the order.
    """

    name: str
    prepare: Callable[[], Callable[[int], Iterator[Read]]]
    batches: int
    shuffle: str = "any clips"
    epoch: Callable[[int], Iterator[Read]] | None = None
    error: str = ""
    seconds: list[float] = field(default_factory=list)

    def attempt(self, step: Callable[[], None]) -> None:
        """Do something with the contestant, and keep what goes wrong for the table."""
        if self.error:
            return
        try:
            step()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}".splitlines()[0]

    def check(self, clips: Clips, steps: int | None, batch_size: int) -> None:
        """Compare one batch with the reference, and see that an epoch repeats no clip."""
        self.epoch = self.prepare()
        seen: list[int] = []
        whole = len(clips.row_size) // batch_size
        for number, batch in enumerate(islice(self.epoch(0), min(whole, self.batches))):
            labels = np.asarray(batch.labels)
            seen += labels.tolist()
            if number == 0:
                expected = reference(clips, labels, steps)
                assert len(labels) == batch_size
                for name, found in zip(Read._fields, batch, strict=True):
                    np.testing.assert_array_equal(found, getattr(expected, name), err_msg=name)
        assert len(set(seen)) == len(seen), "a clip came twice in one epoch"
        assert sorted(seen) != seen, "the order is not shuffled"

    def race(self, number: int) -> None:
        """Read a round's batches twice and time the second time, from the second batch on.

        The first time brings back into the processor's caches what the others displaced; the first
        batch begins the epoch.
        """
        assert self.epoch is not None
        gc.collect()
        for _ in islice(self.epoch(2 * number), self.batches):
            pass
        epoch = self.epoch(2 * number + 1)
        next(epoch)
        count = 0
        began = time.perf_counter()
        for _ in islice(epoch, self.batches - 1):
            count += 1
        self.seconds.append((time.perf_counter() - began) / count)


def run(
    contestants: list[Contestant], clips: Clips, steps: int | None, options: argparse.Namespace
) -> None:
    """Check all contestants, then let them take turns; round 0 warms up and is forgotten."""
    for contestant in contestants:
        contestant.attempt(partial(contestant.check, clips, steps, options.batch_size))
    for number in range(options.rounds + 1):
        turn = number % len(contestants)
        for contestant in contestants[turn:] + contestants[:turn]:
            contestant.attempt(partial(contestant.race, number))
    for contestant in contestants:
        del contestant.seconds[:1]


def random_access(
    name: str, prepare: Callable[[], arrays.Reader], clips: Clips, batches: int, batch_size: int
) -> Contestant:
    """Read whatever clips the round draws; all contestants of a round draw the same."""

    def begin() -> Callable[[int], Iterator[Read]]:
        read = prepare()
        return lambda number: (read(wanted) for wanted in drawn(number))

    def drawn(number: int) -> Iterator[Ints]:
        rng = np.random.default_rng(number)
        while True:
            order = rng.permutation(len(clips.row_size))
            for first in range(0, len(order) - batch_size + 1, batch_size):
                yield order[first : first + batch_size]

    return Contestant(name, begin, batches)


def array_contestants(clips: Clips, case: str, options: argparse.Namespace) -> list[Contestant]:
    """Return numpy, featstore, zarr-python and h5py."""
    fast, slow, size = options.batches, options.slow_batches, options.batch_size

    def entry(name: str, prepare: Callable[[], arrays.Reader], batches: int) -> Contestant:
        return random_access(name, prepare, clips, batches, size)

    found = [entry("numpy memory map", partial(arrays.numpy_reader, clips, case), fast)]
    for form in ("Zarr", "HDF5"):
        prepare = partial(arrays.featstore_reader, clips, case, form)
        found.append(entry(f"featstore, {form}", prepare, fast))
    for library in ("zarr", "h5py"):
        for layout in (arrays.ROWS, arrays.CLIPS, arrays.SLICES):
            prepare = partial(arrays.library_reader, clips, case, library, layout)
            found.append(entry(f"{library}, {layout}", prepare, slow))
    return found


def loader_contestants(clips: Clips, options: argparse.Namespace) -> list[Contestant]:
    """Return featstore's stream and the loaders of other libraries, an epoch a round."""
    size = options.batch_size
    epoch = len(clips.row_size) // size
    found = [
        Contestant(
            f"featstore stream, {form}",
            partial(arrays.featstore_stream, clips, form, size),
            options.batches,  # one epoch is too short to be timed
            "fully random",
        )
        for form in ("Zarr", "HDF5")
    ]
    made = {
        "torch DataLoader, .npy": (loaders.torch_loader, "fully random"),
        "litdata": (loaders.litdata_loader, "chunks, and clips within a chunk"),
        "webdataset": (
            loaders.webdataset_loader,
            f"shards, and a buffer of {loaders.SHUFFLE_BUFFER} clips",
        ),
    }
    for name, (loader, shuffle) in made.items():
        for workers in (0, 2):
            prepare = partial(loader, clips, size, workers)
            found.append(Contestant(f"{name}, {workers} workers", prepare, epoch, shuffle))
    annbatch = partial(loaders.annbatch_loader, clips, size)
    return [*found, Contestant("annbatch", annbatch, epoch, "blocks of rows")]


def main() -> None:
    """Generate the clips, run every section, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder for 3 GB of clips, kept (temporary)")
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=187, help="a round, of the fast ones")
    parser.add_argument("--slow-batches", type=int, default=4, help="a round, of zarr and h5py")
    parser.add_argument("--only", choices=[*CASES, "loaders"], action="append")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.data or Path(temporary)
        equal = generate(folder / "equal", Size(options.clips, 30, 30, options.dim, seed=0))
        ragged = generate(folder / "ragged", Size(options.clips, 20, 40, options.dim, seed=1))
        for case, text in CASES.items():
            if not options.only or case in options.only:
                clips = equal if case == "equal" else ragged
                compare_arrays(text, clips, case, options)
        if not options.only or "loaders" in options.only:
            compare_loaders(ragged, options)


def compare_arrays(text: str, clips: Clips, case: str, options: argparse.Namespace) -> None:
    """Run and print one case of random access."""
    steps = RESAMPLED if case == "resampled" else None
    contestants = array_contestants(clips, case, options)
    run(contestants, clips, steps, options)
    mean = steps or float(clips.row_size.mean())
    print(table(text, contestants, options.batch_size * mean * clips.dim * 4) + "\n")
    ours = [one for one in contestants if one.name.startswith("featstore")]
    print(verdicts(ours, contestants[:1], 0.8, "plain numpy"))
    for library in ("zarr", "h5py"):
        layouts = [f"{library}, {layout}" for layout in (arrays.ROWS, arrays.CLIPS)]
        others = [one for one in contestants if one.name in layouts]
        print(verdicts(ours, others, 10, f"the faster of {library}'s fancy indexing"))


def compare_loaders(clips: Clips, options: argparse.Namespace) -> None:
    """Run and print the epochs of ragged clips."""
    contestants = loader_contestants(clips, options)
    run(contestants, clips, None, options)
    mean = float(clips.row_size.mean())
    text = f"an epoch of {CASES['ragged']}"
    print(table(text, contestants, options.batch_size * mean * clips.dim * 4) + "\n")
    ours = [one for one in contestants if one.name.startswith("featstore")]
    others = [one for one in contestants if one not in ours]
    print(verdicts(ours, others, 5, "the fastest loader"))


if __name__ == "__main__":
    main()
