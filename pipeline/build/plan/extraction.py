"""What extraction needs of a build's plan: everything but the videos and the clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.build.plan.augmented_view import AugmentedView
from pipeline.build.plan.clips import Clip
from pipeline.build.plan.normalisation import Normalisation
from pipeline.build.plan.options import Resample
from pipeline.build.plan.weights import Weights
from pipeline.system.precision import Precision
from pipeline.video.modes import PixelSpec
from pipeline.video.videos import Video


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """How features are computed of frames.

    Attributes
    ----------
    backbone : str
    architecture : str
        The configuration of a model of transformers, as JSON; empty for other backbones.
    weights : Weights
    features : str
        What a step is; see `models.feature_kinds`.
    pixels : PixelSpec
    normalise : Normalisation
    size : int
    fit : str
    resample : {"bilinear", "bicubic"}
    window : int or None
        Frames in an input of a video backbone; None for an image backbone.
    precision : {"float32", "tf32", "bf16", "fp16"}
    device : str
    batch_size : int or None
        None takes the default of the device, or on a GPU what fits.
    workers : int
        Pieces of videos decoded at once.
    view : AugmentedView or None
        None for the plain picture.
    """

    backbone: str
    architecture: str
    weights: Weights
    features: str
    pixels: PixelSpec
    normalise: Normalisation
    size: int
    fit: str
    resample: Resample
    window: int | None
    precision: Precision
    device: str
    batch_size: int | None
    workers: int
    view: AugmentedView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPixels:
    """The pixels that mean and std are measured on, where they are measured.

    Attributes
    ----------
    normalise : Normalisation
    videos : sequence of Video
    clips : sequence of Clip
        All clips; only those of the training part count.
    pixels : PixelSpec
    skip_lost : bool
        Leave out frames that do not decode.
    workers : int
        Pieces of videos decoded at once.
    """

    normalise: Normalisation
    videos: Sequence[Video]
    clips: Sequence[Clip]
    pixels: PixelSpec
    skip_lost: bool
    workers: int
