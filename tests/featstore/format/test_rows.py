"""What reading costs: how often a chunk is decoded, and how many are kept."""

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.format import rows as rows_module
from featstore.format import shuffle as blocks
from featstore.format.container import chunk_name
from featstore.format.rows import DecodedRows, MappedRows
from featstore.format.shuffle import chunks_of
from featstore.reading.stream import resampled
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


@pytest.fixture
def mapped(tmp_path: Path) -> Path:
    """A mapped store of 20 clips in 10 chunks of a page each."""
    return write_store(tmp_path / "m.zarr", contents([128] * 20, chunk_rows=256))


def flip(path: Path, number: int) -> None:
    """Change one byte of a chunk of features."""
    chunk = path / chunk_name(number)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)


READS = {
    "clip": lambda store, clip: store[clip],
    "padded": lambda store, clip: store.batch([clip]),
    "resampled": lambda store, clip: store.batch([clip], steps=3),
    "stream": lambda store, clip: list(store.stream(4, 0, clips=np.array([clip]))),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_mapped_chunk_is_checked_when_it_is_first_read(mapped: Path, read) -> None:
    flip(mapped, 7)
    store = featstore.open(mapped, check=True)
    assert isinstance(store.rows, MappedRows)
    for clip in (0, 13, 16, 19):
        read(store, clip)
    for _ in range(2):  # what was found wrong is not taken for checked
        with pytest.raises(featstore.CorruptStoreError, match="chunk 7 of the features was chang"):
            read(store, 15)
    read(featstore.open(mapped), 15)


def test_a_mapped_chunk_is_checked_once(mapped: Path, monkeypatch) -> None:
    checked: list[int] = []
    plain = rows_module.check_chunk
    monkeypatch.setattr(
        rows_module, "check_chunk", lambda *own: (checked.append(own[1]), plain(*own))
    )
    store = featstore.open(mapped, check=True)
    for _ in range(3):
        assert sum(len(batch.clips) for batch in store.stream(3, 0)) == 20
    assert sorted(checked) == list(range(10))


def test_checked_and_mapped_streams_have_one_order(mapped: Path) -> None:
    for one, other in zip(
        featstore.open(mapped, check=True).stream(6, 3),
        featstore.open(mapped).stream(6, 3),
        strict=True,
    ):
        assert one.clips.tolist() == other.clips.tolist()
        np.testing.assert_array_equal(one.features, other.features)


@pytest.mark.parametrize("chunk_rows", [256, 5], ids=["mapped", "decoded"])
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("sizes", [[128, 0, 128, 0], [0, 256, 0], [5, 0, 5, 0]], ids=str)
def test_clips_without_rows_are_padding(tmp_path: Path, sizes, chunk_rows, check) -> None:
    made = contents(sizes, chunk_rows=chunk_rows)
    store = featstore.open(write_store(tmp_path / "s.zarr", made), check=check)
    empty = np.flatnonzero(np.array(sizes) == 0)
    for clip in empty.tolist():
        assert store[clip].shape == (0, DIM)
    assert store.batch(empty).features.shape == (len(empty), 0, DIM)
    assert store.batch(empty).mask.shape == (len(empty), 0)
    for clips in (empty, np.arange(len(sizes))):
        batch = store.batch(clips, steps=3)
        assert batch.features.shape == (len(clips), 3, DIM)
        for clip, features, mask in zip(clips, batch.features, batch.mask, strict=True):
            assert mask.tolist() == [sizes[clip] > 0] * 3
            expected = store[clip][resampled(sizes[clip], 3)] if sizes[clip] else 0
            np.testing.assert_array_equal(features, np.broadcast_to(expected, (3, DIM)))
        for seed in (None, 0):
            streamed = list(store.stream(2, seed, clips=clips, steps=3))
            assert sum(len(batch.clips) for batch in streamed) == len(clips)
            assert sum(len(batch.clips) for batch in store.stream(2, seed, clips=clips)) == len(
                clips
            )
    dataset = store.torch_dataset(steps=3)
    _, mask, _ = dataset.collate([dataset[clip] for clip in range(len(sizes))])
    assert mask.any(1).tolist() == [size > 0 for size in sizes]
