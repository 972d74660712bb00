import math
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from pipeline.train.imbalance import (
    Rule,
    class_weights,
    classes_without_clips,
    draw_by,
    log_priors,
    of_classes,
    sampling_probabilities,
)
from pipeline.train.learner import make_loss
from pipeline.train.recipes.fields import Imbalance, Train

COUNTS = (8, 2, 0, 1, 0)  # class 2 and class 4 have no clips
LABELS = np.repeat(np.arange(5), COUNTS)
PRESENT = [0, 1, 3]


def weight_of(n: int, rule: Rule, beta: float) -> float:
    """The weight of one class, as the papers have it, before it is scaled."""
    if rule == "effective":  # the sum of a geometric series, term by term
        return 1 / sum(beta**i for i in range(n))
    return 1 / n if rule == "inverse" else n**-0.5


@pytest.mark.parametrize("rule", get_args(Rule))
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
def test_weights_and_probabilities_against_loops(rule: Rule, beta: float) -> None:
    plain = [weight_of(n, rule, beta) if n else 0.0 for n in COUNTS]
    mean = sum(plain) / len(PRESENT)
    weights = class_weights(LABELS, 5, rule=rule, beta=beta)
    np.testing.assert_allclose(weights, [w / mean for w in plain])
    of_clips = [plain[label] for label in LABELS.tolist()]
    drawn = sampling_probabilities(LABELS, 5, rule=rule, beta=beta)
    np.testing.assert_allclose(drawn, [w / sum(of_clips) for w in of_clips])


def test_inverse_weights_are_scikit_learns_up_to_their_scale() -> None:
    theirs = compute_class_weight("balanced", classes=np.array(PRESENT), y=LABELS)
    np.testing.assert_allclose(class_weights(LABELS, 5)[PRESENT], theirs / theirs.mean())
    theirs = compute_sample_weight("balanced", LABELS)
    np.testing.assert_allclose(sampling_probabilities(LABELS, 5), theirs / theirs.sum())


def test_every_class_with_clips_is_drawn_equally_often() -> None:
    p = sampling_probabilities(LABELS, 5)
    np.testing.assert_allclose(np.bincount(LABELS, p, minlength=5), [1 / 3, 1 / 3, 0, 1 / 3, 0])


def test_root_draws_classes_by_the_root_of_their_size() -> None:
    p = np.bincount(LABELS, sampling_probabilities(LABELS, 5, rule="sqrt"), minlength=5)
    np.testing.assert_allclose(p / p[3], np.sqrt(COUNTS))


def test_effective_number_lies_between_equal_and_inverse() -> None:
    ones = class_weights(LABELS, 5, rule="effective", beta=0.0)
    np.testing.assert_allclose(ones, [1, 1, 0, 1, 0])
    near = class_weights(LABELS, 5, rule="effective", beta=1 - 1e-9)
    np.testing.assert_allclose(near, class_weights(LABELS, 5), rtol=1e-6)


def test_log_priors_are_those_of_the_shares_up_to_a_constant() -> None:
    priors = log_priors(LABELS, 5)
    assert np.isfinite(priors).all()
    expected = np.log(np.array(COUNTS)[PRESENT] / len(LABELS))
    difference = priors[PRESENT] - expected
    np.testing.assert_allclose(difference, difference[0])
    np.testing.assert_allclose(priors[PRESENT].mean(), 0, atol=1e-15)
    assert priors[[2, 4]].tolist() == [0, 0]


def options(imbalance: str, **more: float) -> Train:
    return Train.model_validate({"imbalance": imbalance, **more})


@pytest.mark.parametrize("imbalance", get_args(Imbalance))
def test_every_strategy_changes_one_thing(imbalance: str) -> None:
    chosen = options(imbalance)
    assert (draw_by(chosen, LABELS, 5) is not None) == imbalance.startswith("sampler")
    loss = make_loss(chosen, of_classes(chosen, LABELS, 5), torch.device("cpu"))
    logits, labels = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), [0, 1, 3, 0]
    plain = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    same = torch.isclose(loss(logits, torch.tensor(labels)), plain)
    assert bool(same) == (imbalance == "none" or imbalance.startswith("sampler"))


def test_class_weighted_losses_are_torchs() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 3, 0])
    for name, rule in (("", "inverse"), ("_sqrt", "sqrt"), ("_effective", "effective")):
        chosen = options(f"class_weights{name}", effective_beta=0.9)
        loss = make_loss(chosen, of_classes(chosen, LABELS, 5), torch.device("cpu"))
        weight = class_weights(LABELS, 5, rule=rule, beta=0.9)
        expected = torch.nn.functional.cross_entropy(logits, labels, torch.tensor(weight).float())
        torch.testing.assert_close(loss(logits, labels), expected)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_logit_adjustment_is_the_papers_and_at_one_the_balanced_softmax(tau: float) -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, counts = [0, 1, 2, 0], [8, 2, 1]
    all_labels = np.repeat([0, 1, 2], counts)
    total = 0.0
    for values, label in zip(logits.tolist(), labels, strict=True):
        shifted = [v + tau * math.log(n / 11) for v, n in zip(values, counts, strict=True)]
        total += math.log(sum(map(math.exp, shifted))) - shifted[label]
    chosen = options("logit_adjustment", adjustment_tau=tau)
    loss = make_loss(chosen, of_classes(chosen, all_labels, 3), torch.device("cpu"))
    got = loss(logits, torch.tensor(labels)).item()
    assert got == pytest.approx(total / 4, rel=1e-6)
    balanced = options("balanced_softmax")
    loss = make_loss(balanced, of_classes(balanced, all_labels, 3), torch.device("cpu"))
    assert (loss(logits, torch.tensor(labels)).item() == pytest.approx(got)) == (tau == 1)


@pytest.mark.parametrize("imbalance", get_args(Imbalance))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_finite_equal_on_one_hot_and_push_absent_classes_down(
    imbalance: str, smoothing: float
) -> None:
    chosen = options(imbalance, label_smoothing=smoothing)
    loss = make_loss(chosen, of_classes(chosen, LABELS, 5), torch.device("cpu"))
    logits = torch.zeros(11, 5, requires_grad=True)
    hard = loss(logits, torch.from_numpy(LABELS))
    soft = loss(logits, torch.nn.functional.one_hot(torch.from_numpy(LABELS), 5).float())
    assert torch.equal(hard, soft)
    (gradient,) = torch.autograd.grad(hard, logits)
    assert torch.isfinite(gradient).all()
    if not smoothing or "weights" not in imbalance:  # smoothed mass of theirs has no weight either
        assert (gradient.sum(0)[[2, 4]] > 0).all()


def test_classes_without_clips_are_named() -> None:
    assert classes_without_clips(LABELS, ("a", "b", "c", "d", "e")) == ["c", "e"]
