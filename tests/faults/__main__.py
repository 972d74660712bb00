"""Do faults, print the table, and end with 1 where an outcome is not allowed."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import warnings
from pathlib import Path

from tests.faults import builds, rot, texts, videos
from tests.faults.outcomes import Fault, Row, run_trials, table

# Fault, flag, what does a trial, and its share of the flag's number.
FAULTS: dict[str, tuple[str, Fault, float]] = {
    "build killed, then resumed": ("kills", builds.killed, 1),
    "disk full while building, then resumed": ("disk", builds.disk_full, 1),
    "folder removed or renamed while building": ("moves", builds.folder_lost, 1),
    "one bit flipped in a sealed store": ("rot", rot.flipped, 1),
    "damaged video, 12 containers": ("videos", videos.mutated, 1),
    "odd tables and lists": ("fuzz", texts.tables, 0.25),
    "odd recipes and spaces": ("fuzz", texts.recipes, 0.25),
    "odd files of runs and exports": ("fuzz", texts.run_files, 0.1),
    "odd Zarr metadata, half of them sealed again": ("fuzz", texts.zarr_metadata, 0.2),
    "odd HDF5 bytes and arrays": ("fuzz", texts.hdf5_metadata, 0.2),
    "crafted files": ("crafted", texts.crafted, 1),
}


def main() -> int:
    """Run what the flags ask for."""
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    for flag in dict.fromkeys(flag for flag, _, _ in FAULTS.values()):
        parser.add_argument(f"--{flag}", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of a fault's name")
    parser.add_argument("--trial", type=int, help="do this one again, and say all about it")
    given = parser.parse_args()
    # Builds fork this process, so nothing that starts threads comes before them.
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even where it runs behind a shell
    rows: list[Row] = []
    for fault, (flag, do, share) in FAULTS.items():
        tries = round(getattr(given, flag) * share)
        numbers = range(tries) if given.trial is None else range(given.trial, given.trial + 1)
        if given.only not in fault or not (tries or (given.only and given.trial is not None)):
            continue
        command = f"python -m tests.faults --{flag} {getattr(given, flag)} --seed {given.seed}"
        with tempfile.TemporaryDirectory() as folder:
            rows.append(
                run_trials(fault, do, numbers, Path(folder), seed=given.seed, command=command)
            )
        print(
            table(rows[-1:]).splitlines()[-1], *rows[-1].bad, sep="\n", file=sys.stderr, flush=True
        )
    print(table(rows))
    return int(any(row.bad for row in rows))


if __name__ == "__main__":
    sys.exit(main())
