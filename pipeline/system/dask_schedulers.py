"""Parse ``--dask``: local processes, a scheduler's address, or its file."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.json_text import read_object
from pipeline.system.threads import processors

LOCAL, LOOPBACK = "local:", "127.0.0.1"
VISIBLE = "CUDA_VISIBLE_DEVICES"


def check_spec(spec: str) -> None:
    """Refuse an invalid value of ``--dask``.

    Raises
    ------
    InputError
    """
    count = spec.removeprefix(LOCAL)
    if spec.startswith(LOCAL) and not (count.isdecimal() and int(count)):
        raise InputError(f"--dask is {spec!r}; pass the number of processes, such as local:2.")
    if not spec.startswith(LOCAL) and "://" not in spec and not Path(spec).is_file():
        raise InputError(
            f"--dask is {spec!r}, but there is no such scheduler file; pass local:N, an address "
            "such as tcp://host:8786, or the file that `dask scheduler --scheduler-file` wrote."
        )


def address_of(spec: str) -> str:
    """Return the address in ``--dask`` or in its scheduler file.

    Raises
    ------
    InputError
        If the file is not a scheduler file.
    """
    if not Path(spec).is_file():
        return spec
    try:
        return str(read_object(Path(spec))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"--dask is {spec!r}, which is not a scheduler file; pass the one that `dask scheduler "
            "--scheduler-file` wrote."
        ) from None


def visible_gpus(count: int) -> list[str]:
    """Return the CUDA_VISIBLE_DEVICES name of each GPU of this process, for one process each.

    Parameters
    ----------
    count : int
        Number of GPUs that torch sees: CUDA stops at the first unknown name.
    """
    names = os.environ.get(VISIBLE, ",".join(map(str, range(count)))).split(",")
    return [name.strip() for name in names][:count]


def local_cluster(processes: int) -> Any:
    """Start a scheduler and processes that share this machine's processors and GPUs."""
    import dask
    import torch
    from distributed import Nanny, Scheduler
    from distributed.deploy.spec import SpecCluster

    threads = max(1, processors() // processes)
    gpus = visible_gpus(torch.cuda.device_count())

    # Read at the start of a process. Dask's defaults would release memory that the next forward
    # needs again; see `pipeline.system.memory`.
    early = {"MALLOC_ARENA_MAX": 1, "MALLOC_MMAP_MAX_": 0, "MALLOC_TRIM_THRESHOLD_": 2**31 - 1}
    early |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    quiet = {"silence_logs": logging.ERROR}
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "host": LOOPBACK,
                "env": {VISIBLE: gpus[number % len(gpus)]} if gpus else {},
                **quiet,
            },
        }
        for number in range(processes)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": LOOPBACK, "dashboard_address": f"{LOOPBACK}:0"},
    }
    # Dask's profiler samples stacks a hundred times per second, which costs 3 % of the time.
    profile = "distributed.worker.profile.enabled"
    with dask.config.set({"distributed.nanny.pre-spawn-environ": early, profile: False}):
        return SpecCluster(workers=workers, scheduler=scheduler, **quiet)
