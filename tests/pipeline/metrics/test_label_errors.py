import numpy as np
import pytest

from pipeline.metrics.label_errors import label_errors


def by_definition(labels: list[int], rows: list[list[float]]) -> list[tuple[float, int, int]]:
    """Every clip off the diagonal, as the paper defines it: one clip and one class at a time."""
    threshold = {}
    for j in set(labels):
        own = [row[j] for row, label in zip(rows, labels, strict=True) if label == j]
        threshold[j] = sum(own) / len(own)
    errors = []
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        reached = [j for j in sorted(threshold) if row[j] >= threshold[j]]
        if reached and (best := max(reached, key=lambda j: row[j])) != label:
            errors.append((row[label] - row[best], number, best))
    return sorted(errors)


@pytest.mark.parametrize("classes", [2, 5])
def test_off_the_diagonal_of_the_confident_joint(classes: int) -> None:
    rng = np.random.default_rng(classes)
    true = rng.integers(0, classes, 400)
    probabilities = rng.dirichlet(np.ones(classes), 400) + 4 * np.eye(classes)[true]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = np.where(rng.random(400) < 0.1, rng.integers(0, classes, 400), true)
    expected = by_definition(labels.tolist(), probabilities.tolist())
    found = label_errors(labels, probabilities)
    assert found.clips.tolist() == [clip for _, clip, _ in expected]
    assert found.suggested.tolist() == [best for _, _, best in expected]
    np.testing.assert_allclose(found.margin, [margin for margin, _, _ in expected], atol=1e-12)
    planted = np.flatnonzero(labels != true)
    assert len(planted) > 10
    assert np.isin(found.clips[: len(planted)], planted).mean() > 0.9


def test_without_clips_and_with_a_class_without_clips() -> None:
    nothing = label_errors(np.zeros(0, np.int64), np.zeros((0, 3)))
    assert [len(part) for part in nothing] == [0, 0, 0]
    sure = np.array([[0.1, 0.0, 0.9], [0.8, 0.1, 0.1]])
    assert label_errors(np.array([0, 0]), sure).suggested.tolist() == []
