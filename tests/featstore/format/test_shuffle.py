from itertools import pairwise

import numpy as np
import pytest

from featstore.format import shuffle as blocks
from featstore.format.layout import Layout
from featstore.format.shuffle import BLOCK_CHUNKS, chunks_of, groups

CHUNK_BYTES = 2**20
# 400 chunks of 50 clips, which are all of 10 steps.
EVEN = Layout(np.full(20_000, 10), 4, 500)
# 401 chunks of about 50 clips, some of which reach into the next one.
MANY = Layout(np.random.default_rng(2).integers(5, 16, 20_000), 4, 500)
RAGGED = Layout(np.random.default_rng(3).integers(1, 40, 3000), 4, 100)
LONG = Layout(np.random.default_rng(4).integers(1, 900, 300), 4, 100)

LAYOUTS = {"even": EVEN, "many": MANY, "ragged": RAGGED, "long": LONG}


@pytest.fixture
def most(request, monkeypatch) -> int:
    """Chunks that fit in memory together."""
    monkeypatch.setattr(blocks, "GROUP_BYTES", request.param * CHUNK_BYTES)
    return request.param


def all_clips(layout: Layout) -> np.ndarray:
    return np.arange(len(layout.row_size))


@pytest.mark.parametrize("most", [1, 2, 5, 20, 100, 100_000], indirect=True)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_every_clip_comes_once(layout: Layout, most: int, seed: int | None) -> None:
    rng = None if seed is None else np.random.default_rng(seed)
    for clips in (all_clips(layout), all_clips(layout)[1::3], np.array([5, 5, 7, 5]), np.arange(0)):
        found = np.concatenate([np.arange(0), *groups(layout, clips, rng, CHUNK_BYTES)])
        assert sorted(found.tolist()) == sorted(clips.tolist())
        if rng is None:
            assert found.tolist() == clips.tolist()


@pytest.mark.parametrize("most", [2, 5, 20, 100], indirect=True)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("order", ["in order", "shuffled", "backwards", "at random"])
def test_a_groups_chunks_fit_in_memory(layout: Layout, most: int, order: str) -> None:
    clips = all_clips(layout)
    if order == "backwards":
        clips = clips[::-1]
    if order == "at random":
        clips = np.random.default_rng(0).permutation(clips)
    rng = np.random.default_rng(0) if order == "shuffled" else None
    longest = max(len(chunks_of(layout, np.array([clip]))) for clip in clips.tolist())
    for group in groups(layout, clips, rng, CHUNK_BYTES):
        found = len(chunks_of(layout, group))
        # Where a single clip is longer than memory is meant to be, a block cannot fit either.
        assert found <= max(most, longest)


@pytest.mark.parametrize("most", [20], indirect=True)
def test_groups_are_full(most: int) -> None:
    """Memory that is there is used; here no clip reaches beyond its block."""
    found = [len(group) for group in groups(EVEN, all_clips(EVEN), rng(0), CHUNK_BYTES)]
    assert len(found) == -(-101 // (most // BLOCK_CHUNKS))
    assert np.mean(found[:-1]) == pytest.approx(50 * most, rel=0.05)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("most", [20, 1000], indirect=True)
@pytest.mark.usefixtures("most")
def test_seeds_decide_the_order() -> None:
    def order(seed: int) -> list[int]:
        return np.concatenate(groups(RAGGED, all_clips(RAGGED), rng(seed), CHUNK_BYTES)).tolist()

    assert order(0) == order(0)
    assert len({tuple(order(seed)) for seed in range(10)}) == 10


@pytest.mark.parametrize("most", [20], indirect=True)
@pytest.mark.usefixtures("most")
def test_epochs_cut_blocks_at_other_places() -> None:
    """Which neighbouring clips part differs from epoch to epoch."""
    parted = set()
    for seed in range(20):
        group_of = np.empty(len(EVEN.row_size), np.int64)
        for number, group in enumerate(groups(EVEN, all_clips(EVEN), rng(seed), CHUNK_BYTES)):
            group_of[group] = number
        cuts = np.flatnonzero(np.diff(group_of)) + 1
        assert (cuts % 50 == 0).all()
        parted |= {int(cut) // 50 % BLOCK_CHUNKS for cut in cuts}
    assert parted == set(range(BLOCK_CHUNKS))


def shuffle_statistics(layout: Layout, seeds: int) -> tuple[float, float, float]:
    """Return what `docs/reading.md` states of a shuffle, the mean over epochs.

    Of the positions ``x[0], x[1], ...`` in the store, in the order of the stream:

    - the correlation of ``x[t]`` with ``x[t + 1]``;
    - the mean of ``|x[t + 1] - x[t]|``, relative to the n/3 of a full shuffle;
    - the size of the correlation of ``x[t]`` with ``t``.
    """
    clips = all_clips(layout)
    found = []
    for seed in range(seeds):
        x = np.concatenate(groups(layout, clips, rng(seed), CHUNK_BYTES)).astype(np.float64)
        lag = np.corrcoef(x[:-1], x[1:])[0, 1]
        distance = np.abs(np.diff(x)).mean() / (len(x) / 3)
        found.append((lag, distance, np.corrcoef(x, np.arange(len(x)))[0, 1]))
    lags, distances, trends = np.array(found).T
    return float(lags.mean()), float(distances.mean()), float(np.abs(trends.mean()))


@pytest.mark.parametrize("most", [5, 10, 20, 32, 40, 80], indirect=True)
def test_quality_of_the_shuffle(most: int) -> None:
    """Of M blocks in G groups, neighbours in the stream correlate by (G - 1) / (M - 1).

    That is about 1/m for groups of m blocks: how often neighbours are of one block. Such pairs are
    near each other and all others as far as in a full shuffle, so the mean distance is 1 less that.
    The source: the variance of the mean of m out of M, summed over the groups.
    """
    every = -(-401 // BLOCK_CHUNKS)
    number = -(-every // (most // (BLOCK_CHUNKS + 1)))
    expected = (number - 1) / (every - 1)
    lag, distance, trend = shuffle_statistics(MANY, seeds=40)
    print(f"{most} chunks, {number} groups: {expected:.3f} {lag:.3f} {distance:.3f} {trend:.3f}")
    # One epoch's lag scatters by about sqrt(2 / G) of itself: 8 % for the mean of 40 epochs of 7
    # groups, and this is three times that.
    assert lag == pytest.approx(expected, rel=0.25)
    assert distance == pytest.approx(1 - expected, abs=0.03)
    # One epoch's trend scatters by 1 / sqrt(blocks), 0.1; this is a mean of 40.
    assert trend < 0.05


@pytest.mark.parametrize("most", [500], indirect=True)
@pytest.mark.usefixtures("most")
def test_a_store_that_fits_is_shuffled_fully() -> None:
    lag, distance, trend = shuffle_statistics(MANY, seeds=10)
    assert abs(lag) < 0.01
    assert distance == pytest.approx(1, abs=0.01)
    assert trend < 0.01


def test_chunks_of_clips() -> None:
    layout = Layout(np.array([3, 4, 2, 6, 1]), 4, 5)
    assert chunks_of(layout, np.array([0])) == [0]
    assert chunks_of(layout, np.array([1])) == [0, 1]
    assert chunks_of(layout, np.array([4, 2, 0])) == [0, 1, 3]
    assert chunks_of(layout, np.array([3, 3])) == [1, 2]
    assert chunks_of(layout, np.arange(0)) == []
    for clip, (first, last) in enumerate(pairwise(layout.offsets.tolist())):
        assert chunks_of(layout, np.array([clip])) == sorted({r // 5 for r in range(first, last)})
