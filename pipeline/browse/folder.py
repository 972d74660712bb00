"""The stores of a folder, the runs that used them, and what the page shows of both.

Callers name a store by its key, a run by its number and a clip by its position, never by a path.
"""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from featstore.errors import InputError, StoreNotFoundError
from featstore.format.files import replacing
from featstore.format.schema import PARTS, STATUS_OK
from featstore.manage.catalogue import entries, unreadable
from featstore.reading.store import Store, open_store
from pipeline.browse.features import Features
from pipeline.runs.files import read_metrics, read_predictions
from pipeline.runs.listing import run_folders
from pipeline.runs.register import known_runs
from pipeline.video.cache import CACHE_FILE, Cache
from pipeline.video.images import index_images
from pipeline.video.index import VideoIndex, read_index

OPEN = 4  # stores whose features are kept
TABLE = ("video", "start", "end", "label", "subject", "split", "clip_id")


class StoreFolder:
    """A folder of stores; nothing in it is changed but by `write_corrections`.

    Parameters
    ----------
    root : Path

    Raises
    ------
    InputError
        If it is not a folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise InputError(f"There is no folder {root}; name a folder of stores.")
        self.root = root.absolute()
        self._lock = Lock()
        self._open: OrderedDict[str, Features] = OrderedDict()

    def listing(self) -> dict[str, Any]:
        """Return the stores with their runs, and the errors of those that cannot be opened."""
        stores = []
        for entry in self._by_key().values():
            facts = entry.attributes
            stores.append(
                {
                    "key": entry.key,
                    "name": entry.path.name,
                    "title": facts["title"],
                    "clips": sum(facts["clips"].values()),
                    "runs": [self._run(path) for path in self._runs(entry.key)],
                }
            )
        return {"folder": str(self.root), "stores": stores, "damaged": list(unreadable(self.root))}

    def features(self, key: str) -> Features:
        """Return the features of the store with this key.

        Raises
        ------
        StoreNotFoundError
            If the folder has no such store.
        """
        with self._lock:
            if key not in self._open:
                entry = self._by_key().get(key)
                if entry is None:
                    raise StoreNotFoundError(f"There is no store {key[:12]} in {self.root}.")
                self._open[key] = Features(open_store(entry.path, check=True))
            self._open.move_to_end(key)
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
            return self._open[key]

    def clips(self, key: str) -> dict[str, Any]:
        """Return the columns of a store's clips; names are positions in lists."""
        store = self.features(key).store
        first = np.minimum(store.offsets[:-1], max(int(store.offsets[-1]) - 1, 0))
        seconds = store.columns["time"][first] if store.offsets[-1] else np.zeros(len(store))
        return {
            "parts": PARTS,
            "classes": store.classes,
            "subjects": store.columns["subject_name"].tolist(),
            "videos": store.columns["video_name"].tolist(),
            "id": store.clip_ids.tolist(),
            "label": store.labels.tolist(),
            **{name: store.columns[name].tolist() for name in ("subject", "video", "split")},
            **{name: store.columns[name].tolist() for name in ("start", "stop", "row_size")},
            "seconds": np.nan_to_num(seconds, nan=-1).round(2).tolist(),
            "failed": np.flatnonzero(store.status != STATUS_OK).tolist(),
        }

    def predictions(self, key: str, number: int) -> dict[str, Any]:
        """Return which clips a run predicted, the classes and their probabilities."""
        store = self.features(key).store
        runs = self._runs(key)
        if not 0 <= number < len(runs):
            raise InputError(f"There is no run {number} of store {key[:12]}.")
        position = {clip: i for i, clip in enumerate(store.clip_ids.tolist())}
        class_of = {name: i for i, name in enumerate(store.classes)}
        rows = [row for row in read_predictions(runs[number]) if row["clip"] in position]
        try:
            return {
                "clips": [position[row["clip"]] for row in rows],
                "predicted": [class_of[row["prediction"]] for row in rows],
                "probability": [round(float(row["probability"]), 4) for row in rows],
            }
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{runs[number] / 'predictions.csv'}: cannot be read ({error}); train it again."
            ) from None

    def video(self, key: str, clip: int) -> tuple[Path, VideoIndex, int, int]:
        """Return the file and index of a clip's video, and the clip's interval in frames.

        Raises
        ------
        InputError
            If there is no such clip, or no file with the content that its features were made of.
        """
        store = self.features(key).store
        if not 0 <= clip < len(store):
            raise InputError(f"There is no clip {clip} in store {key[:12]}.")
        sha256 = str(store.columns["video_sha256"][store.columns["video"][clip]]).partition("#")[0]
        with self._cache() as cache:
            paths = cache.files_of(sha256)
            packed = cache.indexes([sha256]).get(sha256)
        if not paths:
            raise InputError(
                f"No file with the content of {store.videos[clip]} is known to {self.root}; build "
                "the store again where the video is."
            )
        if paths[0].is_dir():
            rate = store.attributes["features"].get("image_fps")
            index = index_images(paths[0], None if rate is None else Fraction(rate))
        else:
            index = VideoIndex.unpack(packed) if packed else read_index(paths[0])
        return paths[0], index, int(store.start[clip]), int(store.stop[clip])

    def write_corrections(self, key: str, labels: Mapping[int, str | None]) -> dict[str, Any]:
        """Write the clips with corrected labels as a table for ``build --source table``.

        Parameters
        ----------
        key : str
        labels : mapping
            Positions of clips and their labels; None leaves a clip out.

        Returns
        -------
        dict
            ``path`` of the table, the ``command`` that builds a store of it, ``clips`` written,
            ``left_out``, and ``missing``, the videos that are not known.

        Raises
        ------
        InputError
            If a clip or a label is not one of the store, or no clip is left.
        """
        store = self.features(key).store
        for clip, label in labels.items():
            if not 0 <= clip < len(store):
                raise InputError(f"There is no clip {clip} in store {key[:12]}.")
            if label is not None and label not in store.classes:
                raise InputError(f"{label!r} is not a class of store {key[:12]}.")
        files = self._files(store)
        new = {**dict(enumerate(store.label_names)), **labels}
        kept = [clip for clip in store.usable.tolist() if new[clip] is not None]
        if not kept:
            raise InputError("No clip is left; a table needs one.")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(TABLE if store.subjects_known else [x for x in TABLE if x != "subject"])
        for clip in kept:
            video = str(store.videos[clip])
            path = os.path.relpath(files[video], self.root) if video in files else video
            subject = [str(store.subjects[clip])] if store.subjects_known else []
            interval = [path, int(store.start[clip]), int(store.stop[clip]), new[clip]]
            writer.writerow([*interval, *subject, store.splits[clip], store.clip_ids[clip]])
        table = self.root / f"{Path(store.path).name}.corrected.csv"
        with replacing(table) as temporary:
            temporary.write_text(text.getvalue(), "utf-8")
        command = ["featstore", "build", "--like", str(store.path), "--source", "table"]
        command += ["--data", str(table), "--unit", "frames", "--stores", str(self.root)]
        return {
            "path": str(table),
            "command": shlex.join(command),
            "clips": len(kept),
            "left_out": len(store) - len(kept),
            "missing": sorted(set(store.videos.tolist()) - set(files)),
        }

    def _files(self, store: Store) -> dict[str, Path]:
        hashes = zip(store.columns["video_name"], store.columns["video_sha256"], strict=True)
        with self._cache() as cache:
            files = {str(name): cache.files_of(text.partition("#")[0]) for name, text in hashes}
        return {name: paths[0] for name, paths in files.items() if paths}

    def _cache(self) -> AbstractContextManager[Cache]:
        return closing(Cache(self.root / CACHE_FILE, read_only=True))

    def _by_key(self) -> dict[str, Any]:
        return {entry.key: entry for entry in entries(self.root)}

    def _runs(self, key: str) -> list[Path]:
        """Return the runs of a store: those of the register, and those below the folder."""
        paths = dict.fromkeys(record.run for record in known_runs(self.root, key))
        for path in run_folders(self.root):
            try:
                metrics = read_metrics(path)
            except InputError:
                continue
            if key in (metrics["store_key"], *(one["key"] for one in metrics.get("stores", []))):
                paths[path] = None
        return list(paths)

    def _run(self, path: Path) -> dict[str, Any]:
        try:
            metrics = read_metrics(path)
        except InputError as error:
            return {"name": path.name, "error": str(error)}
        part = "test" if metrics["test"]["clips"] else "val"
        return {"name": path.name, "recipe": metrics["recipe"], "part": part,
                "top1": metrics[part]["top1"]}  # fmt: skip
