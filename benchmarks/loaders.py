"""Contestants that stream an epoch in an order of their own: torch, litdata, webdataset, annbatch.

All of them deliver the same batch: ragged clips, padded with zeros, under a mask.
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from synthetic import Clips, Read

Epoch = Callable[[int], Iterator[Read]]

SHARD_BYTES = 32 * 2**20
SHUFFLE_BUFFER = 1000


def collate(samples: Sequence[tuple[Any, int]]) -> tuple[Any, Any, Any]:
    """Pad clips side by side; the tensors share memory with the arrays that are filled."""
    import torch

    sizes = np.array([len(features) for features, _ in samples])
    mask = np.arange(sizes.max()) < sizes[:, None]
    features = np.zeros((*mask.shape, samples[0][0].shape[1]), np.float32)
    for place, (rows, _) in enumerate(samples):
        features[place, : len(rows)] = rows
    labels = torch.tensor([label for _, label in samples])
    return torch.from_numpy(features), torch.from_numpy(mask), labels


class Files:
    """A torch dataset over one .npy file a clip."""

    def __init__(self, clips: Clips) -> None:
        self._folder = clips.folder / "npy"
        self._len = len(clips.row_size)
        if not self._folder.exists():
            self._folder.mkdir()
            for clip, rows in enumerate(clips.each()):
                np.save(self._folder / f"{clip}.npy", rows)

    def __len__(self) -> int:
        return self._len

    def __getitem__(self, clip: int) -> tuple[Any, int]:
        return np.load(f"{self._folder}/{clip}.npy"), clip


def torch_loader(clips: Clips, batch_size: int, workers: int) -> Epoch:
    """DataLoader over a file a clip: fully random."""
    import torch
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        Files(clips),  # type: ignore[arg-type]
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def epoch(seed: int) -> Iterator[Read]:
        torch.manual_seed(seed)
        return (Read(*batch) for batch in loader)

    return epoch


def _litdata_sample(clip: int, clips: Clips) -> dict[str, Any]:
    start, stop = clips.offsets[clip : clip + 2]
    return {"features": np.array(clips.rows[start:stop]), "label": clip}


def _litdata_collate(samples: Sequence[dict[str, Any]]) -> tuple[Any, Any, Any]:
    return collate([(sample["features"], sample["label"]) for sample in samples])


def litdata_loader(clips: Clips, batch_size: int, workers: int) -> Epoch:
    """StreamingDataset over chunks: shuffles the chunks, and the clips within each."""
    os.environ.setdefault("DATA_OPTIMIZER_CACHE_FOLDER", str(clips.folder / "litdata.cache"))
    litdata = importlib.import_module("litdata")
    folder = clips.folder / "litdata"
    if not folder.exists():
        litdata.optimize(
            partial(_litdata_sample, clips=clips),
            list(range(len(clips.row_size))),
            output_dir=str(folder),
            chunk_bytes=SHARD_BYTES,
            num_workers=1,
            verbose=False,
        )
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        drop_last=True,
        collate_fn=_litdata_collate,
        persistent_workers=workers > 0,
    )

    def epoch(seed: int) -> Iterator[Read]:
        del seed  # litdata derives an epoch's order from its number
        return (Read(*batch) for batch in loader)

    return epoch


def _shards(clips: Clips) -> list[str]:
    webdataset = importlib.import_module("webdataset")
    folder = clips.folder / "webdataset"
    if not folder.exists():
        folder.mkdir()
        with webdataset.ShardWriter(
            f"{folder}/%04d.tar", maxsize=SHARD_BYTES, maxcount=10**9, verbose=0
        ) as sink:
            for clip, rows in enumerate(clips.each()):
                sink.write({"__key__": f"{clip:06d}", "npy": np.array(rows), "cls": clip})
    return sorted(str(path) for path in folder.glob("*.tar"))


def webdataset_loader(clips: Clips, batch_size: int, workers: int) -> Epoch:
    """Tar shards: shuffles the shards, then clips within a buffer of `SHUFFLE_BUFFER`."""
    webdataset = importlib.import_module("webdataset")
    shards = _shards(clips)

    def loader(seed: int) -> Iterable[Any]:
        dataset = (
            webdataset.WebDataset(shards, shardshuffle=len(shards), seed=seed)
            .shuffle(SHUFFLE_BUFFER, initial=SHUFFLE_BUFFER)
            .decode()
            .to_tuple("npy", "cls")
            .batched(batch_size, collation_fn=collate, partial=False)
        )
        made: Iterable[Any] = webdataset.WebLoader(dataset, batch_size=None, num_workers=workers)
        return made

    def epoch(seed: int) -> Iterator[Read]:
        return (Read(*batch) for batch in loader(seed))

    return epoch


def annbatch_loader(clips: Clips, batch_size: int) -> Epoch:
    """Run annbatch over one observation a clip."""
    try:
        importlib.import_module("annbatch")
    except ImportError as error:
        version = platform.python_version()
        raise ImportError(f"{error}; it needs Python 3.12 or newer, this is {version}") from None
    del clips, batch_size
    raise NotImplementedError("annbatch was not run: it reads matrices, not ragged clips")
