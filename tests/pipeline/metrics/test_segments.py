"""Scores of segments, against computations that share nothing with them."""

from itertools import product

import numpy as np
import pytest

from pipeline.metrics.segments import (
    Interval,
    accuracy,
    average_precision,
    edit_score,
    f1,
    levenshtein,
    mean_average_precision,
)

CLASSES = 3


def timeline(rng: np.random.Generator, *, gaps: bool = True) -> list[Interval]:
    """Adjacent intervals with ends in tenths of seconds; some are left out."""
    ends = np.unique(rng.integers(1, 200, 9)) / 10
    begins = np.concatenate([[0.0], ends[:-1]])
    return [
        Interval(float(begin), float(end), int(rng.integers(CLASSES)), float(rng.random()))
        for begin, end in zip(begins, ends, strict=True)
        if not gaps or rng.random() < 0.8
    ]


def recordings(seed: int) -> list[tuple[list[Interval], list[Interval]]]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(4):
        true = timeline(rng)
        near = [
            one._replace(
                begin=max(0.0, one.begin + round(float(rng.normal(0, 0.3)), 1)),
                end=one.end + 0.4,
                score=float(rng.random()),
            )
            for one in true
            if rng.random() < 0.7
        ]
        found.append((near if rng.random() < 0.6 else timeline(rng), true))
    return found


def frames(intervals: list[Interval]) -> np.ndarray:
    """The class of each hundredth of a second, -1 without one."""
    labels = np.full(3000, -1)
    for one in intervals:
        labels[round(100 * one.begin) : round(100 * one.end)] = one.label
    return labels


@pytest.mark.parametrize("seed", range(6))
def test_accuracy_is_that_of_many_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = [(timeline(rng), timeline(rng)) for _ in range(5)]
    predicted = np.concatenate([frames(one) for one, _ in made])
    true = np.concatenate([frames(one) for _, one in made])
    expected = (predicted == true)[true >= 0].mean()
    assert accuracy(made) == pytest.approx(expected)


def test_accuracy_counts_predictions_that_overlap_once() -> None:
    twice = [Interval(0, 2, 0), Interval(1, 3, 0)]
    assert accuracy([(twice, [Interval(0, 4, 0)])]) == 0.75
    assert np.isnan(accuracy([(twice, [])]))


def distance(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """The Levenshtein distance by its definition."""
    if not first or not second:
        return len(first) + len(second)
    return min(
        distance(first[1:], second) + 1,
        distance(first, second[1:]) + 1,
        distance(first[1:], second[1:]) + (first[0] != second[0]),
    )


def test_levenshtein_of_all_short_sequences() -> None:
    words = [word for length in range(4) for word in product(range(2), repeat=length)]
    for first, second in product(words, words):
        assert levenshtein(first, second) == distance(first, second)


def test_edit_score_is_a_mean_over_recordings() -> None:
    a, b = Interval(0, 1, 0), Interval(1, 2, 1)
    assert edit_score([([a, b], [a, b]), ([a], [a, b]), ([], [a])]) == pytest.approx(0.5)


def ms_tcn_f1(made, overlap: float) -> float:
    """F1 as MS-TCN's published evaluation computes it: on arrays, one recording at a time."""
    tp = fp = fn = 0.0
    for predicted, true in made:
        hits = np.zeros(len(true))
        y_start, y_end = (np.array([one[side] for one in true]) for side in (0, 1))
        for one in sorted(predicted):
            if not true:
                fp += 1
                continue
            intersection = np.minimum(one.end, y_end) - np.maximum(one.begin, y_start)
            union = np.maximum(one.end, y_end) - np.minimum(one.begin, y_start)
            same = [one.label == other.label for other in true]
            iou = (1.0 * intersection / union) * same
            index = np.array(iou).argmax()
            if iou[index] >= overlap and not hits[index]:
                tp, hits[index] = tp + 1, 1
            else:
                fp += 1
        fn += len(true) - hits.sum()
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return 2 * precision * recall / (precision + recall) if tp else 0.0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5])
def test_f1_is_that_of_ms_tcn(seed: int, overlap: float) -> None:
    made = recordings(seed)
    assert f1(made, overlap) == pytest.approx(ms_tcn_f1(made, overlap))


def matched(predicted, true, overlap: float) -> list[bool]:
    """Which predictions of one class, in the order of scores, take a free true interval."""
    free = list(true)
    result = []
    for _, number, one in predicted:

        def iou(entry, number=number, one=one) -> float:
            other_number, other = entry
            if other_number != number:
                return 0.0
            shared = max(0.0, min(one.end, other.end) - max(one.begin, other.begin))
            return shared / (one.end - one.begin + other.end - other.begin - shared)

        best = max(free, key=iou, default=None)
        hit = best is not None and iou(best) >= overlap
        if hit:
            free.remove(best)
        result.append(hit)
    return result


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.7])
def test_average_precision_is_the_mean_of_precisions_at_hits(seed: int, overlap: float) -> None:
    """Each true interval contributes the best precision at its recall or above."""
    made = recordings(seed)
    values = []
    for label in sorted({one.label for _, true in made for one in true}):
        true = [(n, one) for n, (_, own) in enumerate(made) for one in own if one.label == label]
        ranked = sorted(
            ((one.score, n, one) for n, (own, _) in enumerate(made) for one in own
             if one.label == label),
            key=lambda entry: -entry[0],
        )  # fmt: skip
        hits = np.array(matched(ranked, true, overlap), bool)
        precisions = [hits[: k + 1].mean() for k in range(len(hits))]
        best_later = [max(precisions[k:]) for k in range(len(hits))]
        expected = sum(best for best, hit in zip(best_later, hits, strict=True) if hit) / len(true)
        assert average_precision(made, label, overlap) == pytest.approx(expected)
        values.append(expected)
    assert mean_average_precision(made, overlap) == pytest.approx(np.mean(values))


def test_average_precision_is_that_of_scikit_learn_where_all_is_found() -> None:
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    true = [Interval(10.0 * n, 10.0 * n + 5, 0) for n in range(20)]
    # Hits first at every score, so that precision falls with recall as scikit-learn's does.
    scores = np.sort(rng.random(40))[::-1]
    predicted = [true[n]._replace(score=float(scores[n])) for n in range(20)]
    wrong = [Interval(1000.0 + n, 1001.0 + n, 0, float(scores[20 + n])) for n in range(20)]
    found = average_precision([([*predicted, *wrong], true)], 0, 0.5)
    assert found == pytest.approx(average_precision_score([1] * 20 + [0] * 20, scores))


def test_perfect_and_empty_predictions() -> None:
    true = [Interval(0, 1, 0), Interval(1, 3, 1), Interval(4, 5, 0)]
    perfect, empty = [(true, true)], [([], true)]
    scores = (accuracy, edit_score, lambda r: f1(r, 0.5), lambda r: mean_average_precision(r, 0.7))
    for score in scores:
        assert score(perfect) == 1.0
        assert score(empty) == 0.0
