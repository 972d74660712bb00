"""Detect out-of-memory errors, and say which option to lower; without importing torch."""

from __future__ import annotations

import re

from featstore.text import human_size

# Messages of torch's CPU allocators, on Linux and elsewhere.
PHRASES = ("allocate memory", "not enough memory", "DefaultCPUAllocator")
TRAINING = "train.batch_size, data.steps or the size of the head with --set"
LOWER = {
    "build": "--batch-size, --size or --workers",
    "why": "--batch-size or --size",
    "stats": "--workers",
    "finetune": "--size, --window or the batch size",
    "train": TRAINING,
    "evaluate": "the number of clips, or take another --device",
    "sweep": f"the number of processes, or bound {TRAINING}",
}


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in PHRASES)


def sentence(command: str, error: BaseException) -> str:
    """Return the error message for a user.

    Parameters
    ----------
    command : str
        Command of ``featstore``.
    error : BaseException
        An error for which `is_out_of_memory` is true.

    Examples
    --------
    >>> sentence("stats", RuntimeError("you tried to allocate 4000000 bytes"))
    'featstore stats ran out of memory (requested 4.00 MB); lower --workers.'
    """
    asked = re.search(r"allocate (\d+) bytes", str(error))
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    if asked:
        reason = f"requested {human_size(int(asked[1]))}"
    lower = LOWER.get(command, "what it works on at once")
    return f"featstore {command} ran out of memory{reason and f' ({reason})'}; lower {lower}."
