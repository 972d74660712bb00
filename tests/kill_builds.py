"""Builds that are killed at random moments until one ends; run as a program by the tests.

``python -m tests.kill_builds DATA FOLDER FORMAT SEED KILLS`` leaves the stores of
FOLDER/undisturbed and FOLDER/killed0, FOLDER/killed1, ...
"""

import os
import random
import select
import signal
import sys
import time
from pathlib import Path

import h5py  # noqa: F401 - imported before the forks, so that children spend their time building
import torch
import zarr  # noqa: F401

import featstore.format.layout
import featstore.writing.writer
import pipeline.build.extract.extractor  # noqa: F401
from models.operators import declare_missing_operators
from pipeline.build.build import build
from pipeline.build.plan.build_plan import cache_of, plan_build
from tests.builds import options_of, silent


def build_in_child(data: Path, root: Path, store_format: str, began: int) -> None:
    """Build, and write a byte when writing begins; never returns."""
    plain = featstore.writing.writer.StoreWriter.__init__

    def telling(*given, **more) -> None:
        os.write(began, b".")
        plain(*given, **more)

    featstore.writing.writer.StoreWriter.__init__ = telling  # type: ignore[method-assign]
    try:
        cache = cache_of(root)
        build(plan_build(options_of(data, root, format=store_format), cache, silent), cache, silent)
    except BaseException as error:  # the parent knows by the exit status
        print(type(error), error, flush=True)
        os._exit(1)
    os._exit(0)


def attempt(
    data: Path, root: Path, store_format: str, after: float | None
) -> tuple[bool, float | None]:
    """Build in a child process, killed some seconds after it has begun to write.

    Returns
    -------
    ended : bool
        Whether it ended by itself.
    seconds : float or None
        How long it wrote; None where nothing was left to write.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        build_in_child(data, root, store_format, writing)
    os.close(writing)
    began = os.read(reading, 1) == b"."
    since = time.perf_counter()
    if began and after is not None:
        select.select([reading], [], [], after)  # or until the child has ended
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit("a build ended with an error")
    return os.WIFEXITED(status), time.perf_counter() - since if began else None


def main(data: Path, folder: Path, store_format: str, seed: int, kills: int) -> None:
    """Print how many builds were killed, and how many of them had finished units."""
    torch.set_num_threads(1)
    declare_missing_operators()
    import torchvision  # noqa: F401 - as the imports above

    featstore.format.layout.CHUNK_BYTES = 4 * 512 * 2  # 33 units
    _, seconds = attempt(data, folder / "undisturbed", store_format, None)
    assert seconds is not None
    rng = random.Random(seed)
    killed = resumed = number = 0
    while killed < kills or not resumed:
        root = folder / f"killed{number}"
        number += 1
        ended = False
        while not ended:
            ended, _ = attempt(data, root, store_format, rng.uniform(0, seconds))
            killed += not ended
            resumed += not ended and any(root.glob(".*.units/0.json"))
    print(f"{killed} killed, {resumed} with finished units, {number} stores")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
