"""From window probabilities to segments."""

from itertools import product

import numpy as np
import pytest

from pipeline.predict.choose import candidates, choose
from pipeline.predict.recording import Predicted
from pipeline.predict.segments import GAP, Segment, Smoother, segments_of, slots_of, viterbi
from pipeline.predict.windows import Windows


def predicted(begin, end, probabilities, gaps=()) -> Predicted:
    n = len(begin)
    windows = Windows(
        start=np.arange(n),
        stop=np.arange(n) + 1,
        begin=np.array(begin, float),
        end=np.array(end, float),
        inputs=np.zeros((0, 1), np.int64),
        rows=[],
        counts=np.zeros(0),
    )
    return Predicted(windows, np.log(np.array(probabilities)), dict.fromkeys(gaps, "lost"))


def test_slots_have_the_mean_of_the_windows_over_their_middle() -> None:
    found = predicted([0, 1, 2], [2, 3, 4], [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    bounds, slots = slots_of(found, 1.0, 4.0)
    assert bounds.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(slots[:, 0], [0.9, 0.7, 0.35, 0.2])


def test_a_slot_without_a_whole_window_is_a_gap() -> None:
    found = predicted([0, 2], [2, 4], [[0.9, 0.1], [0.2, 0.8]], gaps=[1])
    bounds, slots = slots_of(found, 1.0, 3.5)
    assert bounds.tolist() == [0, 1, 2, 3, 3.5]
    assert np.isnan(slots[2:]).all()
    labels = Smoother("median", 2.0)(slots, 1.0)
    assert labels.tolist() == [0, 0, GAP, GAP]
    assert [(one.begin, one.end) for one in segments_of(labels, slots, bounds)] == [(0, 2)]


def best_by_trying_all(logs: np.ndarray, least: int) -> float:
    """The best sum over all sequences whose runs have at least `least` slots."""
    count, classes = logs.shape
    best = -np.inf
    for labels in product(range(classes), repeat=count):
        edges = [0, *(k for k in range(1, count) if labels[k] != labels[k - 1]), count]
        if min(np.diff(edges)) >= least:
            best = max(best, logs[np.arange(count), labels].sum())
    return best


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("least", [1, 2, 3])
def test_viterbi_is_the_best_of_all_segmentations(seed: int, least: int) -> None:
    logs = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), 7))
    labels = viterbi(logs, least)
    edges = np.flatnonzero(np.diff(labels)) + 1
    assert np.diff([0, *edges, 7]).min() >= least
    assert logs[np.arange(7), labels].sum() == pytest.approx(best_by_trying_all(logs, least))


def test_viterbi_of_a_short_timeline_is_one_segment() -> None:
    assert viterbi(np.log([[0.6, 0.4], [0.1, 0.9]]), 5).tolist() == [1, 1]


def test_median_removes_a_short_interruption_and_none_keeps_it() -> None:
    slots = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]] + [[0.9, 0.1]] * 3)
    assert Smoother("none", 3.0)(slots, 1.0).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert Smoother("median", 3.0)(slots, 1.0).tolist() == [0] * 7
    assert Smoother("viterbi", 2.0)(slots, 1.0).tolist() == [0] * 7


def test_a_threshold_leaves_out_what_is_unlikely() -> None:
    slots = np.array([[0.9, 0.1], [0.55, 0.45]])
    assert Smoother("none", 0.0, 0.6)(slots, 1.0).tolist() == [0, GAP]


def test_the_best_smoother_is_that_of_the_best_f1() -> None:
    """Two segments of six seconds, with an interruption of a second in the first."""
    sure, other = [0.9, 0.1], [0.1, 0.9]
    slots = np.array([*[sure] * 3, other, *[sure] * 2, *[other] * 6])
    true = [Segment(0.0, 6.0, 0, 1.0), Segment(6.0, 12.0, 1, 1.0)]
    tried = candidates(2.0, 0.0)
    best, score = choose(tried, [(np.arange(13.0), slots, true)], 1.0)
    assert (best.kind, score) == ("median", 1.0)
    assert best.seconds == 2.0  # one slot is too narrow
    clear = np.array([*[sure] * 6, *[other] * 6])
    assert choose(tried, [(np.arange(13.0), clear, true)], 1.0)[0].kind == "none"
