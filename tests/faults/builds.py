"""Builds that are killed, run out of disk, or lose their folders, and are then run again."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Loaded before the forks, so that children spend their time building.
import h5py  # noqa: F401
import numpy as np
import torch
import zarr  # noqa: F401

import featstore.format.layout
import pipeline.build.build
import pipeline.build.extract.extractor  # noqa: F401
from models.operators import declare_missing_operators
from tests.builds import write_dataset
from tests.faults.outcomes import Trial, command, judged

FLAGS = ("--source", "table", "--data", "data/clips.csv", "--stores", "stores", "--size", "32")
FLAGS += ("--pixels", "luma", "--backbone", "squeezenet1_1", "--weights", "random")
FLAGS += ("--batch-size", "8", "--workers", "2", "--device", "cpu")
FORMATS = ("zarr", "hdf5")


def small_chunks() -> None:
    """Make many units of little work."""
    torch.set_num_threads(1)
    featstore.format.layout.CHUNK_BYTES = 4 * 512 * 2


def build(folder: Path, form: str, **how: object) -> tuple[int, str]:
    """Run `featstore build` in a folder that has the data."""
    before = how.pop("before", None)

    def begin() -> None:
        small_chunks()
        if callable(before):
            before()

    return command(folder, "build", *FLAGS, "--format", form, before=begin, **how)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every sealed store in a folder of stores."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "stores").rglob("*"))
        if path.is_file()
        and not str(path.relative_to(folder / "stores")).startswith(".")
        # Dates and seconds lie beside a store.
        and not path.name.endswith(".build.json")
    }


@cache
def undisturbed(home: Path, form: str) -> tuple[Path, dict[str, bytes], float]:
    """Build twice; return the data, the bytes of the store, and the seconds of the faster one."""
    declare_missing_operators()
    import torchvision  # noqa: F401 - in this process, too, so that children need not

    folder = home / f"undisturbed-{form}"
    write_dataset(folder / "data")
    seconds = []
    for _ in range(2):
        shutil.rmtree(folder / "stores", ignore_errors=True)
        started = time.perf_counter()
        status, output = build(folder, form)
        assert status == 0, output
        seconds.append(time.perf_counter() - started)
    return folder / "data", content(folder), min(seconds)


def _begin(folder: Path, rng: np.random.Generator) -> tuple[str, dict[str, bytes], float]:
    form = FORMATS[int(rng.integers(len(FORMATS)))]
    data, expected, seconds = undisturbed(folder.parent, form)
    shutil.copytree(data, folder / "data")
    return form, expected, seconds


def _end(folder: Path, form: str, expected: dict[str, bytes], first: Trial) -> Trial:
    """Run the build again, undisturbed, and compare."""
    if first.outcome in ("TRACEBACK", "NO END", "DIED"):
        return first
    again = judged(*build(folder, form))
    if again.outcome != "accepted":
        return Trial("TRACEBACK" if again.outcome == "TRACEBACK" else "DIED", again.detail)
    if content(folder) != expected:
        return Trial("DIFFERENT BYTES", f"{form}; first: {first.detail}")
    return Trial(f"{first.outcome}, then equal")


def killed(folder: Path, rng: np.random.Generator) -> Trial:
    """Kill a build at a random moment, up to three times."""
    form, expected, seconds = _begin(folder, rng)
    for _ in range(int(rng.integers(1, 4))):
        status, output = build(folder, form, kill_after=float(rng.uniform(0, seconds)))
        if status != -signal.SIGKILL:
            break
    if status == -signal.SIGKILL:
        return _end(folder, form, expected, Trial("killed"))
    first = judged(status, output)
    ended = Trial("ended first") if first.outcome == "accepted" else first
    return _end(folder, form, expected, ended)


def disk_full(folder: Path, rng: np.random.Generator) -> Trial:
    """Let no file grow beyond some bytes, or let the n-th file that is opened find no space."""
    form, expected, _ = _begin(folder, rng)
    largest = max(map(len, expected.values()))
    before: Callable[[], None]
    if rng.random() < 0.5:
        limit = int(rng.integers(1, largest))

        def before() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    else:
        number = int(rng.integers(1, 150))
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def before() -> None:
            at_event(folder / "stores", number, lambda: _raise(error), again=True)

    return _end(folder, form, expected, judged(*build(folder, form, before=before)))


def folder_lost(folder: Path, rng: np.random.Generator) -> Trial:
    """Remove or rename the folder of stores or of videos while a build is at it."""
    form, expected, _ = _begin(folder, rng)
    name = ("stores", "data")[int(rng.integers(2))]
    removed, number = rng.random() < 0.5, int(rng.integers(1, 120))

    def lose() -> None:
        if removed:
            shutil.rmtree(folder / name, ignore_errors=True)
        elif (folder / name).exists() and not (folder / "away").exists():
            (folder / name).rename(folder / "away")

    first = judged(*build(folder, form, before=lambda: at_event(folder / "stores", number, lose)))
    if first.outcome == "accepted" and name == "stores" and content(folder) == {}:
        return Trial("SILENTLY WRONG", "it said that it built a store, and there is none")
    if name == "data" and not (folder / "data").is_dir():
        shutil.copytree(undisturbed(folder.parent, form)[0], folder / "data")
    return _end(folder, form, expected, first)


def at_event(root: Path, number: int, do: Callable[[], None], *, again: bool = False) -> None:
    """Do something when the process is about to make or change its n-th file below a folder."""
    seen, inside = 0, False

    def hook(event: str, given: tuple[object, ...]) -> None:
        nonlocal seen, inside
        if inside or event not in ("open", "os.mkdir", "os.rename"):
            return
        path, mode = given[0], given[1] if event == "open" else "w"
        flags = given[2] if event == "open" else os.O_WRONLY
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not isinstance(path, str | bytes) or not (writes or "w" in str(mode)):
            return
        if root.name not in Path(os.fsdecode(path)).parts:
            return
        seen += 1
        if seen == number or (again and seen > number):
            inside = True
            try:
                do()
            finally:
                inside = False

    sys.addaudithook(hook)


def _raise(error: OSError) -> None:
    raise error
