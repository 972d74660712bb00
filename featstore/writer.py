"""Writing a store: unit by unit under temporary names, sealed, then renamed into place.

What is written for the store NAME until it is sealed::

    .NAME.building/   the store's files, without the root zarr.json
    .NAME.units/      plan.json: what the store is to be; N.json: the checksum of unit N

A writer that starts on these finds out what is whole and goes on from there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.codecs import Codec
from featstore.container import HDF5_SUFFIX, chunk_name
from featstore.errors import InputError
from featstore.files import Folder, sync, sync_tree
from featstore.keys import canonical_json, differences
from featstore.layout import Layout
from featstore.seal import sealed, sha256

BUILDING, UNITS, SUPERSEDED, PACKING = ".building", ".units", ".superseded", ".packing"
PLAN = "plan.json"
NUMERICS, MIXED = "numerics", "mixed_numerics"


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a store but its features, known before the first frame is decoded.

    Attributes
    ----------
    layout : Layout
    columns : mapping of str to ndarray
        Every array of ``schema.ARRAYS``.
    attributes : mapping
        Root attributes, the seal excepted; JSON.
    codec : Codec
        How features are stored.
    """

    layout: Layout
    columns: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, Any]
    codec: Codec = field(default_factory=Codec)


class StoreWriter:
    """A store being written; nothing can open it as a store before `seal`.

    Whoever writes holds `featstore.locks.writer_lock` of the store's key.

    Parameters
    ----------
    final : Path
        Where the sealed store goes. The suffix decides its format: ``.zarr``, or ``.h5``, which is
        packed from the finished Zarr files and so needs twice the space for a moment.
    contents : Contents
        Where an earlier, killed writer left the beginnings of the same contents beside `final`,
        this one goes on from there; other beginnings are removed.
    mixed_numerics : bool
        Go on also where the beginnings were computed by other software or hardware, whose last
        bits may differ.

    Attributes
    ----------
    done : dict of int to dict
        Units that are written, and what is known of each: ``sha256``, and of float16 the errors.

    Raises
    ------
    InputError
        If the beginnings have other numerics, and `mixed_numerics` is False.
    """

    def __init__(self, final: Path, contents: Contents, *, mixed_numerics: bool = False) -> None:
        from featstore.zarr_format import encode_columns

        self._final = final
        self._files = Folder(temporary(final, BUILDING))
        self._commits = Folder(temporary(final, UNITS))
        layout = contents.layout
        small = encode_columns(contents.columns, layout, contents.codec)
        self._small = {name: sha256(content) for name, content in small.items()}
        self._contents = contents
        self._attributes = dict(contents.attributes)
        self._units = layout.units()
        self.done: dict[int, dict[str, Any]] = {}
        plan = {
            "attributes": self._attributes,
            "files": self._small,
            "chunk": [layout.chunk_rows, layout.dim],
        }
        if self._resumes(plan, mixed_numerics):
            self.done = self._found()
            self._remove_strays()
        else:
            discard(final)
            self._commits.write(PLAN, canonical_json(plan).encode())
        try:
            for name, content in small.items():
                self._files.write(name, content)
        except BaseException:
            if not self.done:
                discard(final)
            raise

    @property
    def missing(self) -> list[int]:
        """Numbers of the units that are not written yet, in ascending order."""
        return [number for number in range(len(self._units)) if number not in self.done]

    def write(self, unit: int, rows: NDArray[np.float32]) -> None:
        """Write one unit, which is whole when this returns.

        Parameters
        ----------
        unit : int
            Its number in ``contents.layout.units()``.
        rows : ndarray of float32, shape (rows, dim)

        Raises
        ------
        InputError
            If a value does not fit into float16.
        """
        first, last = self._units[unit]
        if rows.shape != (last - first, self._contents.layout.dim):
            raise ValueError(f"unit {unit} has {last - first} rows, and {rows.shape} were given")
        codec = self._contents.codec
        chunk, known = stored_chunk(rows, self._contents.layout.chunk_rows, codec)
        self.write_encoded(unit, codec.encode(chunk), known)

    def write_encoded(
        self, unit: int, content: bytes | memoryview, known: Mapping[str, Any] | None = None
    ) -> None:
        """Write one unit from bytes of the codec; `known` is kept with its checksum."""
        commit = {**(known or {}), "sha256": sha256(content)}
        self._files.write(chunk_name(unit), content)
        self._commits.write(f"{unit}.json", json.dumps(commit).encode())
        self.done[unit] = commit

    def seal(self) -> None:
        """Write the root metadata with every checksum last, and rename into place.

        A store of this name that is there, a damaged one for example, is superseded: it takes the
        name ``.NAME.superseded``, where whoever reads it still has it.
        """
        from featstore.zarr_format import ROOT_FILE, root_text

        if self.missing:
            raise ValueError(f"{len(self.missing)} units are not written")
        chunks = {chunk_name(unit): commit["sha256"] for unit, commit in self.done.items()}
        if self._final.suffix == HDF5_SUFFIX:
            from featstore.hdf5_format import pack

            sealed_store = temporary(self._final, PACKING)
            pack(sealed_store, self._files, self._contents, self._attributes, chunks)
            shutil.rmtree(self._files.path)
        else:
            sealed_store = self._files.path
            # Everything lasts before the root says that it is whole.
            sync_tree(sealed_store)
            attributes = sealed(self._attributes, {**self._small, **chunks})
            self._files.write(ROOT_FILE, root_text(attributes))
            sync(sealed_store / ROOT_FILE)
        # Only the name is missing now, which `finish` gives if this writer is killed here.
        shutil.rmtree(self._commits.path)
        _replace(sealed_store, self._final)

    def mix_numerics(self, old: Mapping[str, Any], changed: list[str]) -> None:
        """Note that units computed otherwise were taken over, and in what."""
        self._attributes[NUMERICS] = dict(old)
        self._attributes[MIXED] = changed

    def float16_error(self) -> dict[str, float] | None:
        """Return what float16 costs the units that were written from float32 rows.

        Returns
        -------
        dict or None
            ``relative_rms``: the root of the sum of squared errors over that of squared values;
            ``largest_absolute``. None for float32.
        """
        # In the order of the units, whatever the order in which they were written.
        return float16_error([self.done[unit] for unit in sorted(self.done)])

    def discard(self) -> None:
        """Remove what was written; for a build that cannot be finished."""
        discard(self._final)

    def _resumes(self, plan: dict[str, Any], mixed_numerics: bool) -> bool:
        """Tell whether an earlier writer's beginnings are those of this plan."""
        try:
            old = json.loads(self._commits.read(PLAN))
        except (FileNotFoundError, ValueError):
            return False
        old_numerics = old["attributes"].pop(NUMERICS, {})
        new_numerics = self._attributes.get(NUMERICS, {})
        new = json.loads(canonical_json(plan))
        new["attributes"].pop(NUMERICS, None)
        mixed = old["attributes"].pop(MIXED, [])
        new["attributes"].pop(MIXED, None)
        if old != new:
            return False
        changed = differences(old_numerics, json.loads(canonical_json(new_numerics)))
        if changed and not mixed_numerics:
            raise InputError(
                f"An unfinished build of {self._final.name} was computed otherwise "
                f"({'; '.join(changed)}), so its last bits may differ; remove it with `featstore "
                "gc`, or go on with --allow-mixed-numerics."
            )
        if changed or mixed:
            self.mix_numerics(old_numerics, list(dict.fromkeys([*mixed, *changed])))
            # For whoever goes on after this one, with the numerics of the first perhaps.
            noted = {**plan, "attributes": self._attributes}
            self._commits.write(PLAN, canonical_json(noted).encode())
        return True

    def _remove_strays(self) -> None:
        """Remove what a writer that was killed left half written, and its root metadata."""
        expected = {*self._small, *(chunk_name(unit) for unit in range(len(self._units)))}
        for name in set(self._files.names()) - expected:
            (self._files.path / name).unlink()

    def _found(self) -> dict[int, dict[str, Any]]:
        """Return the units that are whole, comparing each with its checksum."""
        found = {}
        for unit in range(len(self._units)):
            try:
                commit = json.loads(self._commits.read(f"{unit}.json"))
                content = self._files.read(chunk_name(unit))
            except (OSError, ValueError):
                continue
            if sha256(content) == commit.get("sha256"):
                found[unit] = commit
        return found


def stored_chunk(
    rows: NDArray[np.float32], chunk_rows: int, codec: Codec
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return rows as a whole chunk of the stored dtype, and the errors that the dtype costs."""
    chunk = np.full((chunk_rows, rows.shape[1]), np.nan, codec.dtype)
    if codec.dtype == "float32":
        chunk[: len(rows)] = rows
        return chunk, {}
    with np.errstate(over="ignore"):
        chunk[: len(rows)] = rows
    kept = chunk[: len(rows)].astype(np.float64)
    too_large = np.isinf(kept) & np.isfinite(rows)
    if too_large.any():
        raise InputError(
            f"A feature is {np.abs(rows[too_large]).max():g}, and float16 holds at most 65504; "
            "store float32."
        )
    whole = np.isfinite(rows).all(axis=1)
    exact = rows[whole].astype(np.float64)
    error = kept[whole] - exact
    return chunk, {
        "error_squares": float((error**2).sum()),
        "squares": float((exact**2).sum()),
        "largest_error": float(np.abs(error).max(initial=0)),
    }


def float16_error(commits: Iterable[Mapping[str, Any]]) -> dict[str, float] | None:
    """Return what float16 costs, of what `stored_chunk` said of every unit; None for float32."""
    known = [commit for commit in commits if "squares" in commit]
    if not known:
        return None
    squares = sum(commit["squares"] for commit in known)
    errors = sum(commit["error_squares"] for commit in known)
    largest = max(commit["largest_error"] for commit in known)
    relative = (errors / squares) ** 0.5 if squares else 0.0
    return {"relative_rms": relative, "largest_absolute": largest}


def temporary(final: Path, kind: str) -> Path:
    """Return the path of what stands beside a store for a while."""
    return final.with_name(f".{final.name}{kind}")


def discard(final: Path) -> None:
    """Remove what an unfinished writer left."""
    # The plan and the root go first: without them, nothing goes on from what is left.
    (temporary(final, UNITS) / PLAN).unlink(missing_ok=True)
    (temporary(final, BUILDING) / "zarr.json").unlink(missing_ok=True)
    for kind in (UNITS, BUILDING):
        shutil.rmtree(temporary(final, kind), ignore_errors=True)
    temporary(final, PACKING).unlink(missing_ok=True)


def finish(final: Path) -> None:
    """Give a store its name that a writer sealed before it was killed.

    Whoever calls this holds the lock of the store's key.
    """
    from featstore.container import read_attributes
    from featstore.errors import FeatstoreError

    if final.exists():
        return
    for kind in (BUILDING, PACKING):
        candidate = temporary(final, kind)
        try:
            read_attributes(candidate)
        except (FeatstoreError, OSError):
            continue
        for other in (UNITS, BUILDING):
            if other != kind:
                shutil.rmtree(temporary(final, other), ignore_errors=True)
        candidate.rename(final)
        sync(final.parent)
        return


def _replace(new: Path, final: Path) -> None:
    if final.exists():
        old = temporary(final, SUPERSEDED)
        if old.is_dir():
            shutil.rmtree(old)
        final.replace(old)
    new.rename(final)
    sync(final.parent)
