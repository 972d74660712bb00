"""``torchrun ... featstore train``: several processes, of which one speaks."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore.errors import InputError

if TYPE_CHECKING:
    from pipeline.system.distributed import Processes


def together(command: Callable[..., None]) -> Callable[..., None]:
    """Run a command that takes ``device`` in all processes that torchrun started."""

    @wraps(command)
    def run(**given: Any) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:  # torch is slow to import
            return command(**given)
        from pipeline.system.distributed import process_group

        with process_group(given["device"]) as group:
            if group.first:
                return command(**given)
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                return command(**given)

    return run


def refuse_several_runs(group: Processes) -> None:
    """Refuse --seeds and --splits, whose runs can be trained side by side instead.

    Raises
    ------
    InputError
    """
    if group.count > 1:
        raise InputError(
            f"torchrun started {group.count} processes, which train one run together; leave out "
            "--seeds and --splits, or run them without torchrun"
        )
