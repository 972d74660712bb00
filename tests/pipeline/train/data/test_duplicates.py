import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pipeline.train.data import duplicates
from pipeline.train.data.duplicates import near_duplicates, nearest, pooled
from tests.fakes import FakeStore

NONE = np.zeros(0, np.int64)


def store_of(n: int = 60, *, dim: int = 16, seed: int = 0) -> FakeStore:
    """Clips that are nothing like each other; the last 20 are val."""
    rng = np.random.default_rng(seed)
    clips = [rng.random((int(rng.integers(1, 7)), dim)) for _ in range(n)]
    splits = ["train"] * (n - 20) + ["val"] * 20
    return FakeStore(clips, [0] * n, splits, subjects=splits)


def with_clip(store: FakeStore, clip: int, features: np.ndarray) -> FakeStore:
    first = store.offsets[clip]
    store.rows.array[first : first + store.row_size[clip]] = features
    return store


def found(store: FakeStore) -> duplicates.Duplicates:
    return near_duplicates(store, store.split("train"), store.split("val"), NONE)[0]


def test_pooled_is_the_mean_over_time_at_length_one() -> None:
    store = store_of()
    expected = np.stack([store[i].mean(axis=0) for i in (5, 3)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(pooled(store, np.array([5, 3])), expected, rtol=1e-5)


def test_features_of_zeros_are_near_nothing() -> None:
    store = with_clip(with_clip(store_of(), 0, np.zeros(16)), 59, np.zeros(16))
    assert not len(found(store).clips)


def test_features_that_are_not_finite_are_near_nothing() -> None:
    store = store_of()
    for clip, values in ((59, (np.inf, -np.inf)), (58, (np.nan,)), (7, (np.inf,))):
        store[clip][0, : len(values)] = values
    with_clip(store, 50, store[8].mean(axis=0))
    assert found(store).clips.tolist() == [50]


@pytest.mark.parametrize("cells", [1, 100, 10**6])
def test_nearest_equals_scipy_in_any_blocks(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_CELLS", cells)
    store = store_of()
    ours, theirs = pooled(store, np.arange(40)), pooled(store, np.arange(40, 60))
    distances, positions = nearest(theirs, ours)
    expected = cdist(theirs, ours, "cosine")
    np.testing.assert_array_equal(positions, expected.argmin(axis=1))
    np.testing.assert_allclose(distances, expected.min(axis=1), atol=1e-6)
    own, _ = nearest(ours, ours, leave_out=np.arange(40))
    expected = cdist(ours, ours, "cosine") + np.diag(np.full(40, np.inf))
    np.testing.assert_allclose(own, expected.min(axis=1), atol=1e-6)


def test_a_repeated_clip_is_found_with_its_twin_and_others_are_not() -> None:
    store = store_of()
    twin = store[7].mean(axis=0)
    # Longer or shorter, a little brighter, and with noise, as from another encoder.
    noise = np.random.default_rng(1).normal(size=twin.shape)
    with_clip(store, 50, 1.1 * twin)
    with_clip(store, 55, twin + 0.005 * noise)
    same = found(store)
    assert same.clips.tolist() == [50, 55]
    assert same.twins.tolist() == [7, 7]
    assert same.distances[0] < same.distances[1] < same.threshold <= duplicates.MOST


def test_alike_everywhere_is_not_a_repetition() -> None:
    """Features of a narrow cone: all are near each other, no nearer across than within."""
    store = store_of()
    store.rows.array[:] = 1 + 0.1 * store.rows.array
    assert not len(found(store).clips)


def test_a_single_training_clip() -> None:
    store = store_of()
    same, _ = near_duplicates(store, np.array([0]), np.array([0, 50]), NONE)
    assert same.clips.tolist() == [0]
    assert same.threshold == duplicates.MOST


def test_clips_of_test_that_repeat_a_val_clip_are_found_by_the_same_threshold() -> None:
    store = store_of()
    with_clip(store, 55, store[42].mean(axis=0))
    train, val, test = np.arange(40), np.arange(40, 50), np.arange(50, 60)
    of_train, of_val = near_duplicates(store, train, val, test)
    assert not len(of_train.clips)
    assert (of_val.clips.tolist(), of_val.twins.tolist()) == ([55], [42])
    assert of_val.threshold == of_train.threshold
    assert not any(len(same.clips) for same in near_duplicates(store, train, val, NONE))
