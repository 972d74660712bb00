"""What stores hold, as plain values for JSON and for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.errors import CorruptStoreError
from featstore.format.container import FORMATS, suffix_of
from featstore.manage.leftovers import size_of
from featstore.manage.provenance import read_provenance
from featstore.reading.store import Store
from pipeline.build.summary import SHOWN
from pipeline.sources.base import SPLITS

if TYPE_CHECKING:
    from featstore.manage.catalogue import Entry

# Of the feature configuration, what most often tells stores apart.
CONFIGURED = ("backbone", "weights", "pixels", "fps", "size")


def entry_facts(entry: Entry, runs: int) -> dict[str, Any]:
    """Return what the root attributes of a store say; no array is read.

    Parameters
    ----------
    entry : Entry
    runs : int
        How many runs used it.
    """
    attributes = entry.attributes
    features = attributes.get("features", {})
    return {
        "path": entry.path,
        "name": entry.path.name,
        "key": entry.key,
        "title": attributes["title"],
        "format": FORMATS.get(suffix_of(entry.path) or ""),
        "clips": attributes["clips"],
        "failed": len(attributes.get("failed", {})),
        "steps": attributes.get("steps"),
        "dim": attributes.get("dim"),
        **{name: features.get(name) for name in CONFIGURED},
        "normalise": normalisation(features.get("normalise")),
        "bytes": size_of(entry.path.resolve()),
        "built": read_provenance(entry.path).get("built"),
        "runs": runs,
        "subjects_known": attributes["subjects_known"],
        "untrained": attributes.get("untrained", False),
    }


def normalisation(configured: Any) -> str | None:
    """Return ``--normalise`` as a build takes it.

    Examples
    --------
    >>> normalisation({"from": "split"}), normalisation({"mean": [0.5], "std": [0.25]})
    ('split', '0.5,0.25')
    """
    if not isinstance(configured, Mapping):
        return None
    if "from" in configured:
        return str(configured["from"])
    values = (*configured.get("mean", ()), *configured.get("std", ()))
    return ",".join(f"{value:g}" for value in values)


def store_facts(store: Store) -> dict[str, Any]:
    """Return what a store holds."""
    refuse_incomplete(store)
    attributes = store.attributes
    return {
        "path": store.path,
        "key": store.key,
        "title": store.title,
        "clips": {part: len(store.split(part)) for part in SPLITS},
        "failed": attributes.get("failed", {}),
        "steps": attributes["steps"],
        "dim": store.dim,
        "dtype": str(store.dtype),
        "features": attributes["features"],
        "statistics": attributes["statistics"],
        "numerics": attributes["numerics"],
        "repeated_last_frame": attributes["repeated_last_frame"],
        "subjects_known": store.subjects_known,
        "untrained": attributes["untrained"],
        "classes": class_counts(store),
        "subjects": {part: subject_count(store, part) for part in SPLITS},
        "build": read_provenance(store.path),
    }


def refuse_incomplete(store: Store) -> None:
    """Refuse a store that lacks what builds and imports write.

    Raises
    ------
    CorruptStoreError
    """
    if missing := [name for name in SHOWN if name not in store.attributes]:
        raise CorruptStoreError(
            f"{store.path} lacks what builds and imports write ({', '.join(missing)}); write it "
            "again with the program that made it."
        )


def class_counts(store: Store) -> list[dict[str, Any]]:
    """Return every class, with its clips in each part that are not failed."""
    labels = {part: store.labels[store.split(part)] for part in SPLITS}
    return [
        {"class": name, **{part: int(np.sum(labels[part] == label)) for part in SPLITS}}
        for label, name in enumerate(store.classes)
    ]


def subject_count(store: Store, part: str) -> int | None:
    """Return how many subjects a part has; None where they are not known."""
    return len(np.unique(store.subjects[store.split(part)])) if store.subjects_known else None
