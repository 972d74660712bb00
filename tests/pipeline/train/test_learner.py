"""What a training learns from, field by field of a recipe."""

from pathlib import Path

import numpy as np
import pytest
import torch

from featstore.errors import InputError
from models.heads import build_head
from models.losses import cross_entropy
from pipeline.system import device
from pipeline.system.device import has_bf16
from pipeline.train.imbalance import class_weights, sampling_probabilities
from pipeline.train.learner import Learner, make_loss
from pipeline.train.recipes.load import Train
from pipeline.train.train import train
from tests.fakes import ordered_store
from tests.training import few_of_b_in_train, head_of, quiet, recipe_of


@pytest.mark.parametrize("imbalance", ["none", "sampler", "class_weights", "focal"])
def test_one_imbalance_strategy_at_a_time(imbalance: str) -> None:
    store = ordered_store(60, classes=("a", "b", "never"))
    store.labels[store.split("train")[:25]] = 0
    recipe = recipe_of(f"train.imbalance={imbalance}")
    head = build_head("recurrent", store.dim, 3, hidden=4)
    learner = Learner(head, store, recipe, store.split("train"), seed=0)
    assert (learner.probabilities is not None) == (imbalance == "sampler")
    logits, labels = torch.tensor([[2.0, 0, 0], [0, 0, 1]]), torch.tensor([0, 1])
    plain = torch.nn.functional.cross_entropy(logits, labels)
    same = torch.isclose(learner.loss(logits, labels), plain)
    assert bool(same) == (imbalance in {"none", "sampler"})
    assert np.isfinite(learner.epoch()).all()


def test_class_weights_and_sampling_are_the_training_parts() -> None:
    store = few_of_b_in_train()
    clips = store.split("train")
    labels = store.labels[clips]
    expected = torch.tensor(class_weights(labels, 2), dtype=torch.float32)
    logits, targets = torch.tensor([[2.0, 0], [0, 1], [1, 0]]), torch.tensor([0, 1, 1])
    weighted = recipe_of("train.imbalance=class_weights", "train.label_smoothing=0")
    learner = Learner(head_of(store, weighted), store, weighted, clips, seed=0)
    torch.testing.assert_close(
        learner.loss(logits, targets), cross_entropy(logits, targets, weight=expected)
    )
    sampled = recipe_of("train.imbalance=sampler")
    learner = Learner(head_of(store, sampled), store, sampled, clips, seed=0)
    assert learner.probabilities is not None
    np.testing.assert_array_equal(learner.probabilities, sampling_probabilities(labels, 2))


FOCAL = ("train.imbalance=focal",)
PLAIN = ("head.hidden=4", "data.steps=null")


@pytest.mark.parametrize(
    ("given", "change"),
    [
        ((), "data.steps=3"),
        ((), "data.standardise=train"),
        ((), "data.standardise=clip"),
        (("data.standardise=train",), "data.standardise=subject"),
        ((), "augment.crop=0.5"),
        ((), "augment.stride=3"),
        ((), "augment.drop=0.3"),
        ((), "augment.reverse=0.5"),
        (("data.steps=6",), "augment.crop=0.5"),
        ((), "augment.noise=0.5"),
        ((), "augment.mixup=0.5"),
        ((), "train.batch_size=7"),
        ((), "train.lr=2e-3"),
        ((), "train.weight_decay=0.1"),
        (("train.weight_decay=0.1",), "train.optimizer=adamw"),
        ((), "train.clip_norm=1e-3"),
        ((), "train.precision=bf16"),
        ((), "train.label_smoothing=0.2"),
        ((), "train.imbalance=sampler"),
        ((), "train.imbalance=class_weights"),
        ((), "train.imbalance=focal"),
        (FOCAL, "train.focal_gamma=0.5"),
        (FOCAL, "train.label_smoothing=0.2"),
        (("train.imbalance=class_weights",), "train.label_smoothing=0.2"),
    ],
)
def test_every_field_changes_what_is_learnt(given: tuple[str, ...], change: str) -> None:
    store = few_of_b_in_train()

    def learnt(*overrides: str) -> list[torch.Tensor]:
        recipe = recipe_of(*PLAIN, *overrides, name="baseline")
        learner = Learner(head_of(store, recipe), store, recipe, store.split("train"), seed=0)
        for _ in range(2):
            learner.epoch()
        return list(learner.head.state_dict().values())

    def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
        return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))

    plain = learnt(*given)
    assert same(plain, learnt(*given))
    assert not same(plain, learnt(*given, change))


@pytest.mark.skipif(not device.has_bf16(), reason="the processor multiplies no bfloat16")
@pytest.mark.skipif(not has_bf16(), reason="the processor has no bfloat16")
def test_products_in_half_the_bits_leave_weights_whole_and_learn_as_much() -> None:
    store, losses = ordered_store(60), []
    for precision in ("float32", "bf16"):
        recipe = recipe_of("data.steps=6", "train.lr=0.02", f"train.precision={precision}")
        learner = Learner(head_of(store, recipe), store, recipe, store.split("train"), seed=0)
        losses.append([learner.epoch()[0] for _ in range(12)])
    assert losses[0][-1] < losses[0][0] / 2
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert {tensor.dtype for tensor in learner.head.state_dict().values()} == {torch.float32}


def test_products_in_half_the_bits_are_refused_where_they_are_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_bf16", lambda: False)
    with pytest.raises(InputError, match=r"train\.precision is bf16"):
        train(ordered_store(60), recipe_of("train.precision=bf16"), out=tmp_path / "run", log=quiet)


def test_class_without_training_clips_has_no_weight() -> None:
    loss = make_loss(
        Train(imbalance="class_weights"), np.array([1.0, 1.0, 0.0]), torch.device("cpu")
    )
    logits = torch.randn(2, 3)
    alone = loss(logits[:1], torch.tensor([0]))
    torch.testing.assert_close(loss(logits, torch.tensor([0, 2])), alone)


def test_train_score_under_mixup_is_the_mass_of_the_predicted_class() -> None:
    store = ordered_store(60)
    head = build_head("recurrent", store.dim, 2, hidden=4)
    torch.nn.init.constant_(head.classify.weight, 0.0)
    head.classify.bias.data = torch.tensor([1.0, -1.0])  # whatever comes, it says "a"
    train_clips = store.split("train")
    options = ["augment.mixup=5", "train.imbalance=none", "train.lr=1e-12", "train.batch_size=36"]
    learner = Learner(head, store, recipe_of(*options), train_clips, seed=0)
    _, mass = learner.epoch()
    assert len(train_clips) == 36
    share_of_a = (store.labels[train_clips] == 0).mean()
    assert mass == pytest.approx(share_of_a)  # counting hits of either class would give more
