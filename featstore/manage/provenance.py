"""Record the facts of one build next to the store: date, host, seconds."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from featstore.format.files import replacing
from featstore.json_text import read_object


def provenance_path(store: Path) -> Path:
    """Return the path of a store's ``build.json``."""
    return store.with_name(f"{store.name}.build.json")


def write_provenance(store: Path, seconds: dict[str, float], **facts: Any) -> None:
    """Write a store's ``build.json`` atomically.

    Parameters
    ----------
    store : Path
    seconds : dict of str to float
        Seconds of each stage.
    **facts
        Further entries.
    """
    record = {
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "processors": os.cpu_count(),
        **facts,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }
    _write(store, record)


def read_provenance(store: Path | str) -> dict[str, Any]:
    """Return a store's ``build.json``; empty if it is missing or the store is remote."""
    if not isinstance(store, Path):
        return {}
    path = provenance_path(store)
    try:
        return read_object(path)
    except (OSError, ValueError, TypeError):  # missing or damaged: nothing depends on it
        return {}


def copy_provenance(store: Path | str, to: Path, **facts: Any) -> None:
    """Write the ``build.json`` of a store next to a copy of the store.

    Parameters
    ----------
    store : Path or str
    to : Path
        The copy.
    **facts
        Entries that differ for the copy.
    """
    _write(to, {**read_provenance(store), **facts})


def _write(store: Path, record: dict[str, Any]) -> None:
    with replacing(provenance_path(store)) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
