"""Write a store: unit by unit under temporary names, then seal it and rename it.

Until the store NAME is sealed, these exist::

    .NAME.building/   the store's files, without the root zarr.json
    .NAME.units/      plan.json: the plan of the store; N.json: the checksum of unit N;
                      run: the token that workers of the current writer check

In a bucket, files have their final names, and the root metadata are written last and complete the
store. A new writer resumes from the complete units.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.format import schema
from featstore.format.codecs import float16_error
from featstore.format.container import HDF5_SUFFIX, chunk_name
from featstore.format.contents import Contents
from featstore.format.files import Folder, delete, location_of, sync_tree
from featstore.format.seal import sealed, sha256
from featstore.keys import canonical_json, differences
from featstore.writing.staging import (
    BUILDING,
    FAILED,
    MIXED,
    NUMERICS,
    PACKING,
    UNITS,
    Staging,
    take_place,
    temporary,
    write_unit,
)

READERS = 4


class StoreWriter:
    """Write a store; readers cannot open it before `seal`.

    The caller holds `featstore.writing.locks.writer_lock` of the store's key.

    Parameters
    ----------
    final : Path or str
        Path or URL of the sealed store. The suffix decides the format: ``.zarr``, or on the local
        disk ``.h5``. An HDF5 file is packed from the finished Zarr files, so it briefly needs
        twice the space.
    contents : Contents
        If an interrupted writer left units of the same contents next to `final`, this one
        resumes from them; it removes other unfinished contents.
    mixed_numerics : bool
        Also resume from units that other software or hardware computed; their last bits may
        differ.

    Attributes
    ----------
    files : Files
        Destination of the chunks.
    done : dict of int to dict
        Commits of the written units: ``sha256``, and for float16 the rounding errors.

    Raises
    ------
    InputError
        If the unfinished units have other numerics, and `mixed_numerics` is False.
    """

    def __init__(
        self, final: Path | str, contents: Contents, *, mixed_numerics: bool = False
    ) -> None:
        from featstore.format.zarr_format import encode_columns

        self._final = location_of(final)
        self._staging = Staging(self._final)
        self.files = self._staging.files
        layout = contents.layout
        small = encode_columns(contents.columns, layout, contents.codec)
        self._small = {name: sha256(content) for name, content in small.items()}
        self._contents = contents
        self._attributes = dict(contents.attributes)
        self._units = layout.units()
        self.done: dict[int, dict[str, Any]] = {}
        self._plan = {
            "attributes": self._attributes,
            "files": self._small,
            "chunk": [layout.chunk_rows, layout.dim],
        }
        if self._resumes(mixed_numerics):
            self.done = self._staging.complete(len(self._units))
            self._staging.remove_others({*self._small, *map(chunk_name, self.done)})
        else:
            self.discard()
            self._keep_plan()
        try:
            self._run = self._staging.take_over()
            for name, content in small.items():
                self.files.write(name, content)
        except BaseException:
            if not self.done:
                self.discard()
            raise

    @property
    def places(self) -> tuple[str, str, str]:
        """Arguments of a worker that writes chunks: locations of `files` and `RUN`, the token."""
        return self.files.location, self._staging.commits.location, self._run

    @property
    def missing(self) -> list[int]:
        """Numbers of the units that are not written yet, ascending."""
        return [number for number in range(len(self._units)) if number not in self.done]

    @property
    def failed(self) -> dict[int, str]:
        """The clips with a failed row in a written unit, and the reasons."""
        reasons: dict[int, str] = {}
        for unit in sorted(self.done):
            for clip, reason in self.done[unit].get(FAILED, {}).items():
                reasons.setdefault(int(clip), reason)
        return dict(sorted(reasons.items()))

    def write(
        self, unit: int, rows: NDArray[np.float32], failed: Mapping[int, str] | None = None
    ) -> None:
        """Write one unit; it is complete when this returns.

        Parameters
        ----------
        unit : int
            Its number in ``contents.layout.units()``.
        rows : ndarray of float32, shape (rows, dim)
        failed : mapping of int to str, optional
            Clips with a failed row, and the reasons. `seal` sets all of their rows to NaN, and
            their status.

        Raises
        ------
        InputError
            If a value does not fit into float16.
        """
        first, last = self._units[unit]
        layout, codec = self._contents.layout, self._contents.codec
        if rows.shape != (last - first, layout.dim):
            raise ValueError(f"unit {unit} has {last - first} rows; the shape is {rows.shape}")
        self.commit(unit, write_unit(self.files, unit, rows, layout.chunk_rows, codec), failed)

    def commit(
        self, unit: int, commit: Mapping[str, Any], failed: Mapping[int, str] | None = None
    ) -> None:
        """Record a unit as written; its chunk must be in place.

        Parameters
        ----------
        unit : int
        commit : mapping
            Result of `write_unit`, from this or another process.
        failed : mapping of int to str, optional
            As in `write`.
        """
        reasons = {str(clip): reason for clip, reason in (failed or {}).items()}
        self.done[unit] = {**commit, **({FAILED: reasons} if reasons else {})}
        self._staging.keep(unit, self.done[unit])

    def write_encoded(
        self,
        unit: int,
        content: bytes | memoryview,
        facts: Mapping[str, Any] | None = None,
        failed: Mapping[int, str] | None = None,
    ) -> None:
        """Write one unit from encoded bytes; store `facts` with its checksum.

        The checksum is computed unless `facts` has it.
        """
        self.files.write(chunk_name(unit), content)
        facts = dict(facts or {})
        self.commit(unit, {"sha256": facts.get("sha256") or sha256(content), **facts}, failed)

    def seal(self) -> None:
        """Write the root metadata with all checksums last, and rename the store into place.

        An existing store of this name, such as a damaged one, is renamed to
        ``.NAME.superseded``, so its readers keep it.

        Raises
        ------
        InputError
            If a written file is missing or was changed.
        """
        from featstore.format.zarr_format import ROOT_FILE, root_text

        if self.missing:
            raise ValueError(f"{len(self.missing)} units are not written")
        if self.forget_lost():
            raise self._lost(chunk_name(self.missing[0]))
        if self.failed:
            self._mark_failed()
        chunks = {chunk_name(unit): commit["sha256"] for unit, commit in self.done.items()}
        root = root_text(sealed(self._attributes, {**self._small, **chunks}))
        if not isinstance(self._final, Path):
            self.files.write(ROOT_FILE, root)
            self._staging.forget_units()
            return
        sealed_store = built = temporary(self._final, BUILDING)
        if self._final.suffix == HDF5_SUFFIX:
            from featstore.format.hdf5_writer import pack

            sealed_store = temporary(self._final, PACKING)
            pack(sealed_store, Folder(built), self._contents, self._attributes, chunks)
            delete(built)
        else:
            # Sync everything before the root states that the store is complete.
            sync_tree(sealed_store)
            self._check_files({**self._small, **chunks})
            self.files.write(ROOT_FILE, root, last=True)
        # If this writer is killed here, `finish` completes the renaming.
        delete(temporary(self._final, UNITS))
        take_place(sealed_store, self._final)

    def forget_lost(self) -> list[int]:
        """Mark written units without a chunk as missing; return their numbers."""
        there = set(self.files.names())
        lost = [unit for unit in sorted(self.done) if chunk_name(unit) not in there]
        for unit in lost:
            del self.done[unit]
        return lost

    def mix_numerics(self, old: Mapping[str, Any], changed: list[str]) -> None:
        """Record that reused units have other numerics, and which fields differ."""
        self._attributes[NUMERICS] = dict(old)
        self._attributes[MIXED] = list(dict.fromkeys([*self._attributes.get(MIXED, []), *changed]))
        self._keep_plan()  # for a writer that resumes after this one

    def float16_error(self) -> dict[str, float] | None:
        """Return the float16 rounding errors of the units that were written from float32 rows.

        Returns
        -------
        dict or None
            ``relative_rms``: the root of the sum of squared errors over that of squared values;
            ``largest_absolute``. None for float32.
        """
        # In the order of the units, independent of the order of writing.
        return float16_error([self.done[unit] for unit in sorted(self.done)])

    def discard(self) -> None:
        """Remove all written files of a build that cannot be finished."""
        self._staging.discard()

    def _check_files(self, checksums: Mapping[str, str]) -> None:
        """Compare the files on disk with their checksums before sealing."""

        def is_whole(name: str) -> bool:
            try:
                return sha256(self.files.read(name)) == checksums[name]
            except OSError:
                return False

        with ThreadPoolExecutor(READERS) as pool:
            for name, whole in zip(checksums, pool.map(is_whole, checksums), strict=True):
                if not whole:
                    raise self._lost(name)

    def _lost(self, name: str) -> InputError:
        return InputError(
            f"{name} of {Path(self._final).name} was removed or changed after it was written, by "
            "another program; run the same command again."
        )

    def _mark_failed(self) -> None:
        """Set all rows of failed clips to NaN, and their status."""
        from featstore.format.zarr_format import encode_columns

        contents, layout, codec = self._contents, self._contents.layout, self._contents.codec
        for unit, (first, last) in enumerate(self._units):
            clips = [clip for clip in layout.clips_of(first, last) if clip in self.failed]
            if not clips:
                continue
            name = chunk_name(unit)
            self._check_files({name: self.done[unit]["sha256"]})
            stored = bytes(self.files.read(name))
            chunk = codec.decode(stored, (layout.chunk_rows, layout.dim)).copy()
            for clip in clips:
                begin, end = layout.offsets[clip : clip + 2] - first
                chunk[max(0, begin) : min(end, last - first)] = np.nan
            facts = {key: value for key, value in self.done[unit].items() if key != "sha256"}
            self.write_encoded(unit, codec.encode(chunk), facts)
        columns = dict(contents.columns)
        columns["status"] = columns["status"].copy()
        columns["status"][list(self.failed)] = schema.STATUS_FAILED
        self._contents = replace(contents, columns=columns)
        small = encode_columns(columns, layout, codec)
        self._small = {name: sha256(content) for name, content in small.items()}
        self.files.write("status/c/0", small["status/c/0"])
        ids = columns["clip_id"]
        failed = {str(ids[clip]): why for clip, why in self.failed.items()}
        # In clip order, including clips that failed before the build.
        failed |= self._attributes.get(FAILED, {})
        self._attributes[FAILED] = {
            clip_id: failed[clip_id] for clip_id in ids.tolist() if clip_id in failed
        }

    def _keep_plan(self) -> None:
        self._staging.keep_plan({**self._plan, "attributes": self._attributes})

    def _resumes(self, mixed_numerics: bool) -> bool:
        """Tell whether an earlier writer's unfinished units belong to this plan."""
        old = self._staging.plan()
        if old is None:
            return False
        old_numerics = old["attributes"].pop(NUMERICS, {})
        new_numerics = self._attributes.get(NUMERICS, {})
        new = json.loads(canonical_json(self._plan))
        new["attributes"].pop(NUMERICS, None)
        mixed = old["attributes"].pop(MIXED, [])
        for plan in (old, new):
            for name in (MIXED, "title"):  # the title names the data folder; no unit depends on it
                plan["attributes"].pop(name, None)
        if old != new:
            return False
        changed = differences(old_numerics, json.loads(canonical_json(new_numerics)))
        if changed and not mixed_numerics:
            raise InputError(
                f"An unfinished build of {Path(self._final).name} has other numerics "
                f"({'; '.join(changed)}), so last bits may differ; remove it with `featstore gc`, "
                "or resume with --allow-mixed-numerics."
            )
        if changed or mixed:
            self.mix_numerics(old_numerics, [*mixed, *changed])
        return True
