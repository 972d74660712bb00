import numpy as np

from pipeline.imbalance import class_weights, classes_without_clips, sampling_probabilities

LABELS = np.array([0] * 8 + [1] * 2 + [3])  # class 2 and class 4 have no clips


def test_weights_are_inverse_with_mean_one_over_classes_with_clips() -> None:
    weights = class_weights(LABELS, 5)
    np.testing.assert_allclose(weights / weights[3], [1 / 8, 1 / 2, 0, 1, 0])
    np.testing.assert_allclose(weights[[0, 1, 3]].mean(), 1)


def test_every_class_with_clips_is_drawn_equally_often() -> None:
    p = sampling_probabilities(LABELS, 5)
    np.testing.assert_allclose(np.bincount(LABELS, p, minlength=5), [1 / 3, 1 / 3, 0, 1 / 3, 0])


def test_classes_without_clips_are_named() -> None:
    assert classes_without_clips(LABELS, ("a", "b", "c", "d", "e")) == ["c", "e"]
