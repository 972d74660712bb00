import numpy as np
import pytest

from featstore.reading.stream import resampled
from tests.stores import DIM, SIZES

ALL = np.arange(len(SIZES))


def test_batch_pads_with_zeros_under_a_prefix_mask(store) -> None:
    batch = store.batch(np.array([3, 0, 4]))
    assert batch.features.shape == (3, 6, DIM)
    assert batch.mask.sum(axis=1).tolist() == [6, 3, 1]
    assert batch.labels.tolist() == [1, 0, 0]
    assert batch.clips.tolist() == [3, 0, 4]
    for row, clip in enumerate([3, 0, 4]):
        np.testing.assert_array_equal(batch.features[row][batch.mask[row]], store[clip])
        assert (batch.features[row][~batch.mask[row]] == 0).all()
        assert batch.mask[row, : SIZES[clip]].all()


def test_batch_resamples_to_equal_lengths(store) -> None:
    batch = store.batch(ALL, steps=4)
    assert batch.features.shape == (5, 4, DIM)
    assert batch.mask.all()
    np.testing.assert_array_equal(batch.features[1], store[1])
    np.testing.assert_array_equal(batch.features[4], np.repeat(store[4], 4, axis=0))


@pytest.mark.parametrize("available", range(1, 9))
@pytest.mark.parametrize("wanted", range(1, 9))
def test_resampling_is_even_and_in_order(available: int, wanted: int) -> None:
    steps = resampled(available, wanted)
    assert len(steps) == wanted
    assert (np.diff(steps) >= 0).all()
    assert steps.min() >= 0
    assert steps.max() < available
    counts = np.bincount(steps, minlength=available)
    assert counts.max() - counts.min() <= 1


def test_stream_without_rng_keeps_the_order(store) -> None:
    batches = list(store.stream(2, clips=ALL[::-1]))
    assert [batch.clips.tolist() for batch in batches] == [[4, 3], [2, 1], [0]]


def test_stream_with_rng_takes_every_clip_once(store) -> None:
    def order(seed: int) -> list[int]:
        return [clip for batch in store.stream(2, seed) for clip in batch.clips.tolist()]

    assert sorted(order(0)) == ALL.tolist()
    assert order(0) == order(0)
    assert len({tuple(order(seed)) for seed in range(20)}) > 10


def test_stream_draws_by_probability(store) -> None:
    rng = np.random.default_rng(0)
    p = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    drawn = [
        clip
        for _ in range(50)
        for batch in store.stream(3, rng, probabilities=p)
        for clip in batch.clips.tolist()
    ]
    assert len(drawn) == 250
    assert set(drawn) == {1, 3}
    assert 90 < drawn.count(1) < 160


def test_probabilities_need_a_seed(store) -> None:
    with pytest.raises(ValueError, match="need seed"):
        next(store.stream(2, probabilities=np.full(5, 0.2)))


@pytest.mark.parametrize("size", [0, -1])
def test_batches_hold_something(store, size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size is {size}"):
        next(store.stream(size))


def test_clips_are_positions_or_a_mask(store) -> None:
    mask = store.labels == 1
    streamed = [clip for batch in store.stream(2, 0, clips=mask) for clip in batch.clips.tolist()]
    assert sorted(streamed) == np.flatnonzero(mask).tolist()
    np.testing.assert_array_equal(store.batch([-1]).features[0], store[-1])
    for wrong in ([5], [-6], [True, False]):
        with pytest.raises(IndexError, match="a store with 5"):
            store.batch(np.array(wrong))
    with pytest.raises(TypeError, match="float64"):
        store.batch(np.array([0.5]))
    for steps in (0, -2):
        with pytest.raises(ValueError, match=f"steps is {steps}"):
            store.batch(ALL, steps)
