"""What a finetuning draws, by which rates it learns, and how val is scored."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from models.backbones import build_backbone
from models.frame_classifier import FrameClassifier
from pipeline.finetune.learner import make_optimizer
from pipeline.finetune.options import Tuning
from tests.training import small_tuner
from tests.waits import META, waits

CPU = torch.device("cpu")


def test_no_step_waits_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *given, **more: nullcontext())
    tuner = small_tuner(Tuning(frames=3, batch_size=8), META)
    tuner.model.train()
    with waits(META) as seen:
        losses = [tuner._step(rows, labels) for rows, labels in tuner._drawn()]
    assert len(losses) == tuner.steps == 4
    assert not seen


def test_classes_and_frames_come_equally_often() -> None:
    tuner = small_tuner(Tuning(frames=400, batch_size=64))
    drawn = list(tuner._drawn())
    assert len(drawn) == tuner.steps == 63
    rows, labels = (np.concatenate(own) for own in zip(*drawn, strict=True))
    assert len(rows) == 4000
    assert np.isin(rows[labels == 1], [27, 28, 29]).all()
    assert abs((labels == 1).mean() - 0.5) < 0.03
    counts = np.bincount(rows[labels == 0], minlength=27)
    assert len(counts) == 27
    assert counts.min() > 40  # 74 expected


def test_val_is_scored_by_the_mean_of_log_probabilities() -> None:
    tuner = small_tuner(Tuning())
    metrics, loss = tuner.scores()
    frames, model = tuner._frames, tuner.model
    losses, right = [], []
    for rows, label in zip(frames.rows[10:], frames.labels[10:], strict=True):
        x = (frames.pixels[rows] / 255 - 0.5) / 0.25
        with torch.no_grad():
            logits = model(torch.tensor(np.repeat(x, 3, axis=1), dtype=torch.float32))
        mean = logits.double().log_softmax(1).mean(0).log_softmax(0)
        losses.append(-float(mean[label]))
        right.append(int(mean.argmax()) == label)
    assert metrics.clips == 2
    assert metrics.top1 == np.mean(right)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_rates_fall_towards_the_input_and_norms_do_not_decay() -> None:
    model = FrameClassifier(build_backbone("resnet18"), 512, 4, blocks=2)
    groups = make_optimizer(model, Tuning(lr=0.1, layer_decay=0.5, weight_decay=0.2)).param_groups
    by_parameter = {own: group for group in groups for own in group["params"]}
    network: Any = model.backbone.network
    for parameter, lr, decay in (
        (model.classifier.weight, 0.1, 0.2),
        (model.classifier.bias, 0.1, 0.0),
        (network.layer4[1].conv2.weight, 0.05, 0.2),
        (network.layer4[1].bn2.weight, 0.05, 0.0),
        (network.layer4[0].conv1.weight, 0.025, 0.2),
    ):
        group = by_parameter[parameter]
        assert (group["lr"], group["weight_decay"]) == (pytest.approx(lr), decay)
    trained = [own for own in model.parameters() if own.requires_grad]
    assert {*by_parameter} == {*trained}
