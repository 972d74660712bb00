"""What is true of one build and not of its bytes: date, host, seconds; kept beside the store."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def provenance_path(store: Path) -> Path:
    """Return the path of a store's ``build.json``."""
    return store.with_suffix(".build.json")


def write_provenance(store: Path, seconds: dict[str, float], **facts: str) -> None:
    """Write a store's ``build.json``, whole or not at all.

    Parameters
    ----------
    store : Path
    seconds : dict of str to float
        By stage.
    **facts : str
        What else is worth knowing.
    """
    path = provenance_path(store)
    temporary = path.with_name(f".{path.name}.tmp")
    record = {
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "processors": os.cpu_count(),
        **facts,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }
    temporary.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    temporary.replace(path)


def read_provenance(store: Path) -> dict[str, Any]:
    """Return a store's ``build.json``, or nothing where it was left behind."""
    path = provenance_path(store)
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
