"""What test_conformance.py does not ask of every kind of store."""

from itertools import product

import numpy as np
import pytest

from featstore.reading.stream import resampled
from tests.stores import SIZES

ALL = np.arange(len(SIZES))


def test_resampling_is_even_and_in_order() -> None:
    for available, wanted in product(range(1, 9), repeat=2):
        steps = resampled(available, wanted)
        assert len(steps) == wanted
        assert (np.diff(steps) >= 0).all()
        assert steps.min() >= 0
        assert steps.max() < available
        counts = np.bincount(steps, minlength=available)
        assert counts.max() - counts.min() <= 1


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
        with pytest.raises(IndexError, match="5 clips"):
            store.batch(np.array(wrong))
    with pytest.raises(TypeError, match="float64"):
        store.batch(np.array([0.5]))
    for steps in (0, -2):
        with pytest.raises(ValueError, match=f"steps is {steps}"):
            store.batch(ALL, steps)
