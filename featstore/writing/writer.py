"""Writing a store: unit by unit under temporary names, sealed, then renamed into place.

What is written for the store NAME until it is sealed::

    .NAME.building/   the store's files, without the root zarr.json
    .NAME.units/      plan.json: what the store is to be; N.json: the checksum of unit N;
                      run: a name that processes which write for this one look for

In a bucket the files have their final names, and only the root metadata, written last, makes a
store of them. A writer that starts on these finds out what is whole and goes on from there.
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
from featstore.format.files import Folder, delete, is_remote, sync_tree
from featstore.format.seal import sealed, sha256
from featstore.keys import canonical_json, differences
from featstore.writing.staging import FAILED, MIXED, NUMERICS, Beginnings, write_unit
from featstore.writing.unfinished import BUILDING, PACKING, UNITS, take_place, temporary

READERS = 4


class StoreWriter:
    """A store being written; nothing can open it as a store before `seal`.

    Whoever writes holds `featstore.writing.locks.writer_lock` of the store's key.

    Parameters
    ----------
    final : Path or str
        Where the sealed store goes, a path or a URL. The suffix decides its format: ``.zarr``, or
        on the local disk ``.h5``, which is packed from the finished Zarr files and so needs twice
        the space for a moment.
    contents : Contents
        Where an earlier, killed writer left the beginnings of the same contents beside `final`,
        this one goes on from there; other beginnings are removed.
    mixed_numerics : bool
        Go on also where the beginnings were computed by other software or hardware, whose last
        bits may differ.

    Attributes
    ----------
    files : Files
        Where chunks go.
    done : dict of int to dict
        Units that are written, and what is known of each: ``sha256``, and of float16 the errors.

    Raises
    ------
    InputError
        If the beginnings have other numerics, and `mixed_numerics` is False.
    """

    def __init__(
        self, final: Path | str, contents: Contents, *, mixed_numerics: bool = False
    ) -> None:
        from featstore.format.zarr_format import encode_columns

        self._final = final if is_remote(final) else Path(final)
        self._beginnings = Beginnings(self._final)
        self.files = self._beginnings.files
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
            self.done = self._beginnings.found(len(self._units))
            self._beginnings.remove_others({*self._small, *map(chunk_name, self.done)})
        else:
            self.discard()
            self._keep_plan()
        try:
            self._run = self._beginnings.take_over()
            for name, content in small.items():
                self.files.write(name, content)
        except BaseException:
            if not self.done:
                self.discard()
            raise

    @property
    def places(self) -> tuple[str, str, str]:
        """What another process needs to write chunks: `files`, where `RUN` is, and its content."""
        return self.files.place, self._beginnings.commits.place, self._run

    @property
    def missing(self) -> list[int]:
        """Numbers of the units that are not written yet, in ascending order."""
        return [number for number in range(len(self._units)) if number not in self.done]

    @property
    def failed(self) -> dict[int, str]:
        """The clips of which a row failed in a unit that is written, and why."""
        reasons: dict[int, str] = {}
        for unit in sorted(self.done):
            for clip, reason in self.done[unit].get(FAILED, {}).items():
                reasons.setdefault(int(clip), reason)
        return dict(sorted(reasons.items()))

    def write(
        self, unit: int, rows: NDArray[np.float32], failed: Mapping[int, str] | None = None
    ) -> None:
        """Write one unit, which is whole when this returns.

        Parameters
        ----------
        unit : int
            Its number in ``contents.layout.units()``.
        rows : ndarray of float32, shape (rows, dim)
        failed : mapping of int to str, optional
            Clips with a row that failed, and why. The seal makes all of their rows NaN and sets
            their status.

        Raises
        ------
        InputError
            If a value does not fit into float16.
        """
        first, last = self._units[unit]
        layout, codec = self._contents.layout, self._contents.codec
        if rows.shape != (last - first, layout.dim):
            raise ValueError(f"unit {unit} has {last - first} rows, and {rows.shape} were given")
        self.commit(unit, write_unit(self.files, unit, rows, layout.chunk_rows, codec), failed)

    def commit(
        self, unit: int, commit: Mapping[str, Any], failed: Mapping[int, str] | None = None
    ) -> None:
        """Count a unit as written whose chunk is in place.

        Parameters
        ----------
        unit : int
        commit : mapping
            What `write_unit` returned, here or in another process.
        failed : mapping of int to str, optional
            As in `write`.
        """
        known = {str(clip): reason for clip, reason in (failed or {}).items()}
        self.done[unit] = {**commit, **({FAILED: known} if known else {})}
        self._beginnings.keep(unit, self.done[unit])

    def write_encoded(
        self,
        unit: int,
        content: bytes | memoryview,
        known: Mapping[str, Any] | None = None,
        failed: Mapping[int, str] | None = None,
    ) -> None:
        """Write one unit from bytes of the codec; `known` is kept with its checksum.

        The checksum is computed unless `known` has it.
        """
        self.files.write(chunk_name(unit), content)
        known = dict(known or {})
        self.commit(unit, {"sha256": known.get("sha256") or sha256(content), **known}, failed)

    def seal(self) -> None:
        """Write the root metadata with every checksum last, and rename into place.

        A store of this name that is there, a damaged one for example, is superseded: it takes the
        name ``.NAME.superseded``, where whoever reads it still has it.

        Raises
        ------
        InputError
            If a file that was written is no longer there, or holds something else.
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
            self._beginnings.forget_units()
            return
        sealed_store = built = temporary(self._final, BUILDING)
        if self._final.suffix == HDF5_SUFFIX:
            from featstore.format.hdf5_writer import pack

            sealed_store = temporary(self._final, PACKING)
            pack(sealed_store, Folder(built), self._contents, self._attributes, chunks)
            delete(built)
        else:
            # Everything lasts before the root says that it is whole.
            sync_tree(sealed_store)
            self._check_files({**self._small, **chunks})
            self.files.write(ROOT_FILE, root, last=True)
        # Only the name is missing now, which `finish` gives if this writer is killed here.
        delete(temporary(self._final, UNITS))
        take_place(sealed_store, self._final)

    def forget_lost(self) -> list[int]:
        """Count units as missing whose chunk is no longer there; return their numbers."""
        there = set(self.files.names())
        lost = [unit for unit in sorted(self.done) if chunk_name(unit) not in there]
        for unit in lost:
            del self.done[unit]
        return lost

    def mix_numerics(self, old: Mapping[str, Any], changed: list[str]) -> None:
        """Note that units computed otherwise were taken over, and in what."""
        self._attributes[NUMERICS] = dict(old)
        self._attributes[MIXED] = list(dict.fromkeys([*self._attributes.get(MIXED, []), *changed]))
        self._keep_plan()  # for whoever goes on after this writer

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
        self._beginnings.discard()

    def _check_files(self, checksums: Mapping[str, str]) -> None:
        """Read what was written and compare it: the seal is of what is on the disk."""

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
            f"{name} of {Path(self._final).name} was written, and is gone or changed since: "
            "something else removes or writes files in its folder; run the same command again."
        )

    def _mark_failed(self) -> None:
        """Make all rows of failed clips NaN, and set their status."""
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
            known = {key: value for key, value in self.done[unit].items() if key != "sha256"}
            self.write_encoded(unit, codec.encode(chunk), known)
        columns = dict(contents.columns)
        columns["status"] = columns["status"].copy()
        columns["status"][list(self.failed)] = schema.STATUS_FAILED
        self._contents = replace(contents, columns=columns)
        small = encode_columns(columns, layout, codec)
        self._small = {name: sha256(content) for name, content in small.items()}
        self.files.write("status/c/0", small["status/c/0"])
        ids = columns["clip_id"]
        failed = {str(ids[clip]): why for clip, why in self.failed.items()}
        # In the order of the clips, with those that were known to fail beforehand.
        failed |= self._attributes.get(FAILED, {})
        self._attributes[FAILED] = {own: failed[own] for own in ids.tolist() if own in failed}

    def _keep_plan(self) -> None:
        self._beginnings.keep_plan({**self._plan, "attributes": self._attributes})

    def _resumes(self, mixed_numerics: bool) -> bool:
        """Tell whether an earlier writer's beginnings are those of this plan."""
        old = self._beginnings.plan()
        if old is None:
            return False
        old_numerics = old["attributes"].pop(NUMERICS, {})
        new_numerics = self._attributes.get(NUMERICS, {})
        new = json.loads(canonical_json(self._plan))
        new["attributes"].pop(NUMERICS, None)
        mixed = old["attributes"].pop(MIXED, [])
        for own in (old, new):
            for name in (MIXED, "title"):  # which names the data folder, and decides no unit
                own["attributes"].pop(name, None)
        if old != new:
            return False
        changed = differences(old_numerics, json.loads(canonical_json(new_numerics)))
        if changed and not mixed_numerics:
            raise InputError(
                f"An unfinished build of {Path(self._final).name} was computed otherwise "
                f"({'; '.join(changed)}), so its last bits may differ; remove it with `featstore "
                "gc`, or go on with --allow-mixed-numerics."
            )
        if changed or mixed:
            self.mix_numerics(old_numerics, [*mixed, *changed])
        return True
