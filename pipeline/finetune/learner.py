"""The finetuning learner: sampling, learning rates, training steps and val scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.nn import functional

from models.frame_classifier import FrameClassifier
from pipeline.build.extract.batch_runner import REDUCED
from pipeline.finetune.frames import Frames
from pipeline.finetune.options import Tuning
from pipeline.finetune.pixels import Pixels
from pipeline.metrics.classification import Metrics, metrics_of_predictions
from pipeline.system.device import allow_tf32, upload
from pipeline.system.precision import Precision
from pipeline.train.imbalance import sampling_probabilities
from pipeline.types import Ints

VAL_BATCH = 128


class Tuner:
    """A frame classifier with its optimizer and random generators.

    Parameters
    ----------
    model : FrameClassifier
        On its device.
    frames : Frames
    pixels : Pixels
    tuning : Tuning
    precision : {"float32", "tf32", "bf16", "fp16"}
        Precision of products; weights and losses stay in float32.
    """

    def __init__(
        self,
        model: FrameClassifier,
        frames: Frames,
        pixels: Pixels,
        tuning: Tuning,
        precision: Precision = "float32",
    ) -> None:
        self.model, self._frames, self._pixels, self._tuning = model, frames, pixels, tuning
        self.device = model.classifier.weight.device
        self._dtype = REDUCED.get(precision)
        allow_tf32(precision == "tf32")
        # fp16 underflows on small gradients: scale the loss up first, the gradients down after.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        # Checkpoints select generators by their types.
        self.order_rng = np.random.default_rng(tuning.seed)
        self.change = torch.Generator().manual_seed(tuning.seed)
        self._draw_by = sampling_probabilities(
            frames.labels[: frames.train], model.classifier.out_features
        )
        self.optimizer = make_optimizer(model, tuning)
        self._highest = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = math.ceil(frames.train * tuning.frames / tuning.batch_size)

    def epoch(self, number: int) -> float:
        """Train for one epoch, counted from 0, and return the mean loss."""
        self.model.train()
        losses = []
        for step, (rows, labels) in enumerate(self._drawn(), start=number * self.steps):
            share = rate(step, self._tuning.warmup * self.steps, self._tuning.epochs * self.steps)
            for group, highest in zip(self.optimizer.param_groups, self._highest, strict=True):
                group["lr"] = highest * share
            losses.append(self._step(rows, labels) * len(rows))
        # Read after the last step: reading a number makes a GPU wait.
        return float(torch.stack(losses).sum() / (self._frames.train * self._tuning.frames))

    def _drawn(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield the rows and labels of batches: a clip sampled by class, then one of its frames."""
        frames, count = self._frames, self._frames.train * self._tuning.frames
        clips = self.order_rng.choice(frames.train, count, p=self._draw_by)
        positions = self.order_rng.random(count)
        for first in range(0, count, self._tuning.batch_size):
            last = first + self._tuning.batch_size
            rows_of_clips = [frames.rows[clip] for clip in clips[first:last]]
            rows = [
                clip_rows[int(position * len(clip_rows))]
                for clip_rows, position in zip(rows_of_clips, positions[first:last], strict=True)
            ]
            yield np.array(rows), frames.labels[clips[first:last]]

    def _step(self, rows: Ints, labels: Ints) -> Tensor:
        x = self._pixels(self._frames.pixels[rows], self._tuning, self.change)
        loss = functional.cross_entropy(self._logits(x), upload(labels, self.device))
        self.optimizer.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach().double()

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None):
            logits: Tensor = self.model(x)
        return logits.float()

    @torch.inference_mode()
    def scores(self) -> tuple[Metrics, float]:
        """Return the scores of the val clips, from the mean of their frames' log-probabilities.

        Returns
        -------
        Metrics
        loss : float
            Mean cross entropy of the clips.
        """
        self.model.eval()
        clips = self._frames.rows[self._frames.train :]
        labels = self._frames.labels[self._frames.train :]
        rows = np.unique(np.concatenate(clips))
        parts = [rows[first : first + VAL_BATCH] for first in range(0, len(rows), VAL_BATCH)]
        logs = np.concatenate([self._log_probabilities(part) for part in parts])
        means = np.stack(
            [logs[np.searchsorted(rows, clip_rows)].mean(axis=0) for clip_rows in clips]
        )
        totals = np.log(np.exp(means).sum(axis=1))  # normalises the means of logs
        loss = float((totals - means[np.arange(len(labels)), labels]).mean())
        return metrics_of_predictions(labels, means.argmax(axis=1), means.shape[1]), loss

    def _log_probabilities(self, rows: Ints) -> NDArray[np.float64]:
        logits = self._logits(self._pixels(self._frames.pixels[rows]))
        log_probabilities: NDArray[np.float64] = logits.double().log_softmax(dim=1).cpu().numpy()
        return log_probabilities

    def trained(self) -> dict[str, Tensor]:
        """Return the trainable weights by name, without copying."""
        return {
            name: weight for name, weight in self.model.named_parameters() if weight.requires_grad
        }

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Set the trainable weights."""
        for name, weight in self.trained().items():
            weight.copy_(weights[name])


def make_optimizer(model: FrameClassifier, tuning: Tuning) -> optim.Optimizer:
    """Return AdamW with a lower rate for every block further from the classifier.

    Biases and norms (parameters with fewer than two dimensions) do not decay.
    """
    groups = []
    for distance, layer in enumerate(model.layers()):
        lr = tuning.lr * tuning.layer_decay**distance
        for decays in (True, False):
            parameters: list[nn.Parameter] = [
                parameter for parameter in layer if (parameter.ndim > 1) == decays
            ]
            decay = tuning.weight_decay if decays else 0.0
            if parameters:
                groups.append({"params": parameters, "lr": lr, "weight_decay": decay})
    return optim.AdamW(groups)


def rate(step: int, warmup: float, steps: int) -> float:
    """Return the factor of the peak learning rate: linear warmup, then cosine decay.

    Parameters
    ----------
    step : int
        Counted from 0.
    warmup : float
        Number of warmup steps; may be 0.
    steps : int
        Total number of steps.

    Examples
    --------
    >>> [round(rate(step, 2, 6), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step + 1 < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * max(0.0, step - warmup) / max(1.0, steps - warmup))) / 2
