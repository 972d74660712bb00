import math
from itertools import product

import pytest
import torch
from torch.nn import functional

from models.losses import adjusted, cross_entropy, focal, soft_targets

WEIGHT = torch.tensor([0.0, 0.3, 1.0, 2.7], dtype=torch.float64)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(1, 4, (9,), generator=generator)


@pytest.mark.parametrize(
    ("weight", "smoothing"), list(product([None, WEIGHT], [0.0, 0.1])), ids=str
)
def test_cross_entropy_equals_torch_for_hard_and_one_hot(
    weight: torch.Tensor | None, smoothing: float
) -> None:
    logits, labels = batch()
    expected = functional.cross_entropy(logits, labels, weight, label_smoothing=smoothing)
    one_hot = functional.one_hot(labels, 4).double()
    for targets in (labels, one_hot):
        got = cross_entropy(logits, targets, weight=weight, label_smoothing=smoothing)
        torch.testing.assert_close(got, expected)


def test_torch_itself_differs_on_one_hot_targets_with_weights() -> None:
    logits, labels = batch()
    hard = functional.cross_entropy(logits, labels, WEIGHT)
    soft = functional.cross_entropy(logits, functional.one_hot(labels, 4).double(), WEIGHT)
    assert not torch.isclose(hard, soft)  # the reason for a loss of our own


def test_soft_targets_weigh_every_class_by_its_own_mass() -> None:
    logits, labels = batch()
    other = labels.roll(1)
    targets = 0.7 * functional.one_hot(labels, 4).double() + 0.3 * functional.one_hot(other, 4)
    total = mass = 0.0
    focal_total = 0.0
    for row, log_p in zip(targets, logits.log_softmax(1), strict=True):
        for c in range(4):
            p = math.exp(log_p[c].item())
            total -= WEIGHT[c].item() * row[c].item() * log_p[c].item()
            mass += WEIGHT[c].item() * row[c].item()
            focal_total -= (1 - p) ** 1.5 * row[c].item() * log_p[c].item()
    assert cross_entropy(logits, targets, weight=WEIGHT).item() == pytest.approx(total / mass)
    assert focal(logits, targets, gamma=1.5).item() == pytest.approx(focal_total / len(targets))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_without_gamma_is_cross_entropy_and_hard_is_one_hot(smoothing: float) -> None:
    logits, labels = batch()
    one_hot = functional.one_hot(labels, 4).double()
    plain = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(focal(logits, labels, gamma=0.0, label_smoothing=smoothing), plain)
    hard = focal(logits, labels, gamma=2.0, label_smoothing=smoothing)
    torch.testing.assert_close(focal(logits, one_hot, gamma=2.0, label_smoothing=smoothing), hard)
    assert hard < plain


def test_focal_on_hard_labels_is_the_papers() -> None:
    logits, labels = batch()
    p = logits.softmax(1)[torch.arange(9), labels]
    torch.testing.assert_close(focal(logits, labels, gamma=2.0), (-((1 - p) ** 2) * p.log()).mean())


COUNTS = torch.tensor([1.0, 40.0, 7.0, 300.0], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_adjusted_is_torch_on_shifted_logits_for_hard_and_one_hot(smoothing: float) -> None:
    logits, labels = batch()
    shift = COUNTS.log()
    expected = functional.cross_entropy(logits + shift, labels, label_smoothing=smoothing)
    for targets in (labels, functional.one_hot(labels, 4).double()):
        got = adjusted(logits, targets, adjustment=shift, label_smoothing=smoothing)
        torch.testing.assert_close(got, expected)
        centred = shift - shift.mean()
        got = adjusted(logits, targets, adjustment=centred, label_smoothing=smoothing)
        torch.testing.assert_close(got, expected)


def test_adjusted_is_the_papers_on_soft_targets() -> None:
    logits, labels = batch()
    targets = 0.7 * functional.one_hot(labels, 4).double()
    targets += 0.3 * functional.one_hot(labels.roll(1), 4)
    total = 0.0
    for row, values in zip(targets.tolist(), logits.tolist(), strict=True):
        masses = [n * math.exp(v) for n, v in zip(COUNTS.tolist(), values, strict=True)]
        total -= sum(t * math.log(m / sum(masses)) for t, m in zip(row, masses, strict=True))
    got = adjusted(logits, targets, adjustment=COUNTS.log())
    assert got.item() == pytest.approx(total / len(targets))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_logits_keep_loss_and_gradient_finite(gamma: float) -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    for loss in (
        focal(logits, torch.tensor([0, 0, 1]), gamma=gamma),
        cross_entropy(logits, torch.tensor([0, 0, 1])),
    ):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batch_without_weight_teaches_nothing(smoothing: float) -> None:
    logits = torch.randn(2, 4, requires_grad=True)
    loss = cross_entropy(
        logits, torch.tensor([0, 0]), weight=WEIGHT.float(), label_smoothing=smoothing
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("targets", [torch.zeros(2, 3), torch.zeros(2, dtype=torch.float32)])
def test_targets_of_another_shape_are_refused(targets: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected \(B,\) or \(B, 4\)"):
        soft_targets(targets, 4)
