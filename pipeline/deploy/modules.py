"""A run as plain torch modules of fixed shape: the head, and frames to probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from featstore.reading.stream import resampled
from models.backbones import Backbone, fold_batch_norm, to_single_channel
from models.heads import Head
from models.places import with_features
from pipeline.build.extract.backbone import load_backbone
from pipeline.build.plan.fit import fitted_size
from pipeline.build.plan.options import Resample
from pipeline.build.plan.sampling import windows
from pipeline.predict.trained import Trained
from pipeline.train.data.standardise import FLOOR, of_sums, prior_sums


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """The frames that an exported model takes.

    Attributes
    ----------
    frames : int
    height, width : int
    channels : int
        1 for luma, whose frames have no last dimension; 3 for RGB.
    offset, span : int
        A value ``v`` stands for ``(v - offset) / span`` in 0..1.
    """

    frames: int
    height: int
    width: int
    channels: int
    offset: int
    span: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input, uint8."""
        size = (self.frames, self.height, self.width)
        return size if self.channels == 1 else (*size, self.channels)


class HeadModel(nn.Module):
    """Features of the steps of one window (steps, dim) to probabilities (classes,).

    Standardising and resampling are inside. Where features are standardised by the window's steps,
    these are measured here.

    Parameters
    ----------
    trained : Trained
        Standardised by ``none``, ``train`` or ``clip``.
    steps : int
        Steps of a window.
    """

    mean: Tensor
    std: Tensor
    shift: Tensor
    least: Tensor
    index: Tensor

    def __init__(self, trained: Trained, steps: int) -> None:
        super().__init__()
        self.head: Head = trained.head.cpu().eval()
        self.by_window = trained.standardise == "clip"
        mean, std = torch.zeros(trained.dim), torch.ones(trained.dim)
        self.register_buffer("shift", torch.zeros(trained.dim))
        self.register_buffer("least", torch.zeros(trained.dim))
        if trained.training is not None:
            table = of_sums(prior_sums(trained.training)[None], trained.training, device="cpu")
            mean, std = table.mean[0], table.std[0]
            self.shift = torch.from_numpy(trained.training.mean).float()
            self.least = torch.from_numpy(FLOOR * trained.training.std).float()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        asked = trained.recipe.data.steps
        kept = np.arange(steps) if asked is None else resampled(steps, asked)
        self.register_buffer("index", torch.from_numpy(kept))

    def forward(self, features: Tensor) -> Tensor:
        """Return the probabilities."""
        mean, std = self.mean, self.std
        if self.by_window:
            centred = (features - self.shift).double()
            middle = centred.mean(dim=0)
            square = (centred**2).mean(dim=0)
            variance = square - middle**2
            variance = torch.where(variance > 1e-10 * square, variance, 0 * variance)
            mean = middle.float() + self.shift
            std = torch.maximum(variance.sqrt().float(), self.least)
            std = torch.where(std == 0, torch.ones_like(std), std)
        steps = ((features - mean) / std)[self.index]
        return self.head.read_whole(steps[None]).logits[0].softmax(dim=0)


class WholeModel(nn.Module):
    """Frames of one window (uint8, as `FrameFormat` says) to probabilities (classes,).

    Parameters
    ----------
    trained : Trained
    head : HeadModel
    form : FrameFormat
    """

    down: Tensor
    across: Tensor
    steps: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, trained: Trained, head: HeadModel, form: FrameFormat) -> None:
        super().__init__()
        extraction = trained.first.forward.extraction
        self.head, self.backbone = head, plain_backbone(trained)
        self.form, self.fit, self.size = form, extraction.fit, extraction.size
        self.bicubic = extraction.resample == "bicubic"
        tall, wide = fitted_size(form.height, form.width, self.size, self.fit)
        self.register_buffer("down", resizing(form.height, tall, extraction.resample))
        self.register_buffer("across", resizing(form.width, wide, extraction.resample))
        frames = np.arange(form.frames)
        inputs = windows(frames, *trained.first.window) if trained.first.window else frames[:, None]
        self.register_buffer("steps", torch.from_numpy(inputs))
        self.video = trained.first.window is not None
        moments = (trained.first.statistics.mean, trained.first.statistics.std)
        centre, spread = (torch.tensor(each, dtype=torch.float64) for each in moments)
        self.register_buffer("centre", (form.offset + form.span * centre).float().view(-1, 1, 1))
        self.register_buffer("spread", (form.span * spread).float().view(-1, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Return the probabilities."""
        form = self.form
        values = frames.float().clamp(form.offset, form.offset + form.span)
        values = values.unsqueeze(1) if form.channels == 1 else values.permute(0, 3, 1, 2)
        values = self.down @ values @ self.across.T
        if self.bicubic:
            values = values.clamp(form.offset, form.offset + form.span)
        tall, wide = values.shape[-2:]
        if self.fit.startswith("crop"):
            top, left = (tall - self.size) // 2, (wide - self.size) // 2
            values = values[..., top : top + self.size, left : left + self.size]
        values = (values - self.centre) / self.spread
        if self.fit == "pad":  # borders have the mean
            top, left = (self.size - tall) // 2, (self.size - wide) // 2
            sides = (left, self.size - wide - left, top, self.size - tall - top)
            values = functional.pad(values, sides)
        values = values.expand(-1, self.backbone.channels, -1, -1)
        inputs = values[self.steps]  # (steps, frames, channels, size, size)
        inputs = inputs.transpose(1, 2) if self.video else inputs[:, 0]
        return self.head(self.backbone(inputs))  # type: ignore[no-any-return]


def plain_backbone(trained: Trained) -> Backbone:
    """Return the run's backbone with plain layers alone, which exporters know."""
    extraction = trained.first.forward.extraction
    backbone = load_backbone(extraction.backbone, extraction.weights, extraction.architecture)
    if extraction.pixels.mode == "luma" and len(extraction.normalise.mean) <= 1:
        backbone = to_single_channel(backbone)
    backbone = fold_batch_norm(backbone)
    return with_features(backbone, extraction.backbone, extraction.features)


def resizing(old: int, new: int, mode: Resample = "bilinear") -> Tensor:
    """Return the matrix (new, old) of a resize with antialiasing along one side."""
    identity = torch.eye(old, dtype=torch.float64)[None, None]
    resized = functional.interpolate(
        identity, (new, old), mode=mode, align_corners=False, antialias=True
    )
    return resized[0, 0].float()
