"""What reading costs: how often a chunk is decoded, and how many are kept."""

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore import blocks
from featstore import rows as rows_module
from featstore.blocks import chunks_of
from featstore.rows import DecodedRows
from tests.stores import DIM, contents, write_store

SIZES = np.random.default_rng(1).integers(5, 16, 1000).tolist()
CHUNK_ROWS = 50
CHUNK_BYTES = CHUNK_ROWS * DIM * 4
TOGETHER = 20


@pytest.fixture
def store(tmp_path: Path, monkeypatch) -> featstore.Store:
    """A decoded store of 200 chunks, of which 20 fit into a group and 45 into memory."""
    monkeypatch.setattr(blocks, "GROUP_BYTES", TOGETHER * CHUNK_BYTES)
    monkeypatch.setattr(rows_module, "CACHE_BYTES", 45 * CHUNK_BYTES)
    made = contents(SIZES, chunk_rows=CHUNK_ROWS)
    return featstore.open(write_store(tmp_path / "s.zarr", made))


@pytest.fixture
def decoded(store, monkeypatch) -> Counter[int]:
    """How often each chunk was read."""
    counts: Counter[int] = Counter()
    read, lock = store.container.chunk_bytes, threading.Lock()

    def counted(number: int) -> bytes:
        with lock:
            counts[number] += 1
        return read(number)

    monkeypatch.setattr(store.container, "chunk_bytes", counted)
    return counts


def test_a_stream_in_order_reads_every_chunk_once(store, decoded) -> None:
    assert sum(len(batch.clips) for batch in store.stream(16)) == len(SIZES)
    assert set(decoded) == set(range(len(store.layout.units())))
    assert set(decoded.values()) == {1}


@pytest.mark.parametrize("batch_size", [1, 16, 70])  # of about 80 clips in a group
@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_stream_reads_little_more_than_every_chunk(
    store, decoded, seed: int, batch_size: int
) -> None:
    assert sum(len(batch.clips) for batch in store.stream(batch_size, seed)) == len(SIZES)
    chunks = len(store.layout.units())
    assert set(decoded) == set(range(chunks))
    # A block of four chunks reads a fifth one, and the first and the last block may be smaller.
    assert decoded.total() <= 5 / 4 * (chunks + 4)


def test_a_stream_reads_only_what_its_clips_need(store, decoded) -> None:
    clips = np.arange(300, 310)
    assert sum(len(batch.clips) for batch in store.stream(16, 0, clips=clips)) == 10
    assert sorted(decoded) == chunks_of(store.layout, clips)


def test_chunks_that_are_kept_are_bounded(store, decoded) -> None:
    rows = store.rows
    assert isinstance(rows, DecodedRows)
    for batch in store.stream(16, 0):
        assert len(batch.clips) > 0
        assert len(rows._chunks) <= 45
    for clip in range(len(store)):
        assert len(store[clip]) == SIZES[clip]
        assert len(rows._chunks) <= 45


def test_clips_of_one_chunk_cost_one_read(store, decoded) -> None:
    for _ in range(3):
        for clip in range(4):
            assert store[clip].shape == (SIZES[clip], DIM)
    assert decoded == dict.fromkeys(chunks_of(store.layout, np.arange(4)), 1)


def test_a_chunk_that_cannot_be_read_ends_the_stream(store, monkeypatch) -> None:
    def fail(number: int) -> bytes:
        raise featstore.CorruptStoreError(f"chunk {number} is gone")

    monkeypatch.setattr(store.container, "chunk_bytes", fail)
    before = threading.active_count()
    with pytest.raises(featstore.CorruptStoreError, match="is gone"):
        next(store.stream(16, 0))
    assert threading.active_count() == before


def test_a_stream_that_is_left_ends_its_threads(store) -> None:
    before = threading.active_count()
    stream = store.stream(16, 0)
    assert len(next(stream).clips) == 16
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_threads_may_read_one_store(store) -> None:
    expected = [clip.copy() for clip in featstore.open(store.path)]
    wrong: list[int] = []

    def read(seed: int) -> None:
        for clip in np.random.default_rng(seed).permutation(len(store)).tolist():
            if not np.array_equal(store[clip], expected[clip]):
                wrong.append(clip)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
