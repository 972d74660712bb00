from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import featstore
from featstore.format.codecs import Codec
from pipeline.train.data import feed as module
from pipeline.train.data.feed import Feed, free_memory
from pipeline.train.data.standardise import standardiser
from tests import stores
from tests.fakes import FakeStore, ordered_store

CPU = torch.device("cpu")


def taken(feed: Feed, clips: np.ndarray, **options: Any) -> list[tuple[torch.Tensor, ...]]:
    """Batches of 7, with zeros at padded steps, for what those hold is not defined."""
    return [
        (batch.features.masked_fill(~batch.mask[..., None], 0), batch.mask, batch.labels)
        for batch in feed.batches(clips, 7, **options)
    ]


def same(some: list[tuple[torch.Tensor, ...]], others: list[tuple[torch.Tensor, ...]]) -> bool:
    pairs = zip(some, others, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("how", ["none", "train", "subject"])
@pytest.mark.parametrize("sampled", [True, False])
def test_held_clips_come_as_streamed_ones(steps: int | None, how: Any, sampled: bool) -> None:
    store = ordered_store(40)
    clips = store.split("train")
    standardise = standardiser(store, how, clips)
    chances = np.arange(1.0, len(clips) + 1) / np.arange(1, len(clips) + 1).sum()
    feeds = [
        Feed(store, CPU, steps=steps, standardise=standardise, held=held)
        for held in (None, np.concatenate([clips, store.split("val")]))
    ]
    for _ in range(2):  # a second epoch has another order
        rngs = [np.random.default_rng(3) for _ in feeds]
        found = [
            taken(feed, clips, rng=rng, probabilities=chances if sampled else None)
            for feed, rng in zip(feeds, rngs, strict=True)
        ]
        assert same(*found)
        assert rngs[0].random() == rngs[1].random()
    assert same(*(taken(feed, store.split("val")) for feed in feeds))
    assert same(*(taken(feed, store.split("test")) for feed in feeds))


def test_batches_are_the_clips_asked_for() -> None:
    store = ordered_store(20)
    wanted = np.array([11, 3, 3, 0])
    (batch,) = Feed(store, CPU, held=np.arange(20)).batches(wanted, 4)
    assert batch.labels.tolist() == store.labels[wanted].tolist()
    for place, clip in enumerate(wanted):
        np.testing.assert_array_equal(batch.features[place][batch.mask[place]], store[clip])


class Counting(FakeStore):
    """Counts how many rows are read."""

    def stream(self, *given: Any, **options: Any) -> Any:
        for batch in super().stream(*given, **options):
            self.read = getattr(self, "read", 0) + int(batch.mask.sum())
            yield batch


@pytest.mark.parametrize("fits", [True, False])
def test_what_fits_is_read_once(fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ordered_store(30)
    store.__class__ = Counting
    rows = int(store.row_size.sum())
    monkeypatch.setattr(module, "free_memory", lambda device: 2 * 4 * store.dim * rows - (not fits))
    feed = Feed(store, CPU, held=np.arange(30))
    for _ in range(3):
        list(feed.batches(np.arange(30), 7, rng=np.random.default_rng(0)))
    assert store.__dict__["read"] == (rows if fits else 3 * rows)
    assert feed.waited > 0


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("steps", [None, 4])
def test_of_a_mapped_store_little_is_held(
    tmp_path: Path, compression: str, steps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page cache holds it already; batches, and so the weights, are the same."""
    made = stores.contents(chunk_rows=1024, codec=Codec(compression=compression))
    store = featstore.open(stores.write_store(tmp_path / "s.zarr", made))
    batches = []
    for most in (module.MOST_MAPPED, 0):
        monkeypatch.setattr(module, "MOST_MAPPED", most)
        feed = Feed(store, CPU, steps=steps, held=np.arange(5))
        batches.append(taken(feed, np.arange(5), rng=np.random.default_rng(0)))
        assert (feed.held_bytes == 0) == (most == 0 and compression == "none")
    assert same(*batches)


def test_compressed_stores_come_whole(tmp_path: Path) -> None:
    made = stores.contents(codec=Codec(compression="zstd"))
    store = featstore.open(stores.write_store(tmp_path / "s.zarr", made))
    feed = Feed(store, CPU, held=np.arange(5))
    (batch,) = feed.batches(np.arange(5), 5, rng=np.random.default_rng(0))
    order = np.random.default_rng(0).permutation(5)
    for place, clip in enumerate(order):
        np.testing.assert_array_equal(batch.features[place][batch.mask[place]], store[clip])


@pytest.mark.parametrize(
    ("most", "used", "free"), [("3000", "1000", 2000), ("max", "1000", 4096), ("1", "2", 0)]
)
def test_free_memory_heeds_a_containers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: str, used: str, free: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  4 kB\n")
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    monkeypatch.setattr(module, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    assert free_memory(CPU) == free


def test_memory_that_cannot_be_known_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMINFO", Path("/nowhere"))
    assert free_memory(CPU) == 0
    assert free_memory(torch.device("meta")) == 0
