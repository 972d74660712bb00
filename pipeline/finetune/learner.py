"""Learning one epoch at a time: what is drawn, the rates, a step, and the scores of val."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.nn import functional

from models.frame_classifier import FrameClassifier
from pipeline.build.extract.batch_runner import REDUCED, allow_tf32
from pipeline.finetune.frames import Frames
from pipeline.finetune.options import Tuning
from pipeline.finetune.pixels import Pixels
from pipeline.metrics.classification import Metrics, metrics_of_predictions
from pipeline.system.precision import Precision
from pipeline.train.imbalance import sampling_probabilities
from pipeline.types import Ints

VAL_BATCH = 128


class Tuner:
    """A frame classifier with its optimiser and its sources of chance.

    Parameters
    ----------
    model : FrameClassifier
        On its device.
    frames : Frames
    pixels : Pixels
    tuning : Tuning
    precision : {"float32", "tf32", "bf16", "fp16"}
        Of the products; weights and losses stay in float32.
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
        # fp16 cannot hold small gradients: the loss is scaled up before, they down behind.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        # Found by their types when a checkpoint is written.
        self.order_rng = np.random.default_rng(tuning.seed)
        self.change = torch.Generator().manual_seed(tuning.seed)
        self._draw_by = sampling_probabilities(
            frames.labels[: frames.train], model.classifier.out_features
        )
        self.optimizer = make_optimizer(model, tuning)
        self._highest = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = math.ceil(frames.train * tuning.frames / tuning.batch_size)

    def epoch(self, number: int) -> float:
        """Learn for one epoch, counted from 0, and return the mean loss."""
        self.model.train()
        losses = []
        for step, (rows, labels) in enumerate(self._drawn(), start=number * self.steps):
            share = rate(step, self._tuning.warmup * self.steps, self._tuning.epochs * self.steps)
            for group, highest in zip(self.optimizer.param_groups, self._highest, strict=True):
                group["lr"] = highest * share
            losses.append(self._step(rows, labels) * len(rows))
        # Looked at when all steps are done: a GPU would have to catch up for every number asked.
        return float(torch.stack(losses).sum() / (self._frames.train * self._tuning.frames))

    def _drawn(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield the rows and labels of batches: a clip by its class, then a frame of it."""
        frames, count = self._frames, self._frames.train * self._tuning.frames
        clips = self.order_rng.choice(frames.train, count, p=self._draw_by)
        places = self.order_rng.random(count)
        for first in range(0, count, self._tuning.batch_size):
            last = first + self._tuning.batch_size
            own = [frames.rows[clip] for clip in clips[first:last]]
            rows = [
                mine[int(place * len(mine))]
                for mine, place in zip(own, places[first:last], strict=True)
            ]
            yield np.array(rows), frames.labels[clips[first:last]]

    def _step(self, rows: Ints, labels: Ints) -> Tensor:
        x = self._pixels(self._frames.pixels[rows], self._tuning, self.change)
        loss = functional.cross_entropy(self._logits(x), torch.from_numpy(labels).to(self.device))
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
        """Score the val clips by the mean of their frames' log-probabilities.

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
        means = np.stack([logs[np.searchsorted(rows, own)].mean(axis=0) for own in clips])
        totals = np.log(np.exp(means).sum(axis=1))  # means of logs do not add up to 1
        loss = float((totals - means[np.arange(len(labels)), labels]).mean())
        return metrics_of_predictions(labels, means.argmax(axis=1), means.shape[1]), loss

    def _log_probabilities(self, rows: Ints) -> NDArray[np.float64]:
        logits = self._logits(self._pixels(self._frames.pixels[rows]))
        found: NDArray[np.float64] = logits.double().log_softmax(dim=1).cpu().numpy()
        return found

    def trained(self) -> dict[str, Tensor]:
        """Return the weights that are trained, by name, as they change."""
        return {
            name: weight for name, weight in self.model.named_parameters() if weight.requires_grad
        }

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Set the weights that are trained."""
        for name, weight in self.trained().items():
            weight.copy_(weights[name])


def make_optimizer(model: FrameClassifier, tuning: Tuning) -> optim.Optimizer:
    """Return AdamW with a lower rate for every block further from the classifier.

    Biases and norms, all that is no matrix, do not decay.
    """
    groups = []
    for distance, layer in enumerate(model.layers()):
        lr = tuning.lr * tuning.layer_decay**distance
        for decays in (True, False):
            own: list[nn.Parameter] = [one for one in layer if (one.ndim > 1) == decays]
            decay = tuning.weight_decay if decays else 0.0
            if own:
                groups.append({"params": own, "lr": lr, "weight_decay": decay})
    return optim.AdamW(groups)


def rate(step: int, warmup: float, steps: int) -> float:
    """Return by what the highest rate is multiplied: up a line, down a cosine.

    Parameters
    ----------
    step : int
        From 0.
    warmup : float
        Steps of the rise; may be 0.
    steps : int
        In all.

    Examples
    --------
    >>> [round(rate(step, 2, 6), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step + 1 < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * max(0.0, step - warmup) / max(1.0, steps - warmup))) / 2
