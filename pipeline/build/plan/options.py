"""What a user asks of ``featstore build``, checked, and the feature configuration it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from featstore.errors import InputError
from featstore.format.codecs import COMPRESSIONS, DTYPES, Codec
from featstore.json_text import parse_object
from featstore.manage.catalogue import DEFAULT_STORE_ROOT
from featstore.text import did_you_mean
from featstore.writing.destinations import SUFFIX_OF
from models.catalogue import BACKBONES, TIMM
from models.families import HF, family_of
from models.feature_kinds import POOLED, is_feature_kind
from pipeline.build.plan.augmented_view import AugmentedView
from pipeline.build.plan.failure_limit import NO_FAILURE, FailureLimit
from pipeline.build.plan.fit import check_edge, fit_of
from pipeline.build.plan.normalisation import SPLIT, Normalisation
from pipeline.option_values import (
    check_storage,
    folder,
    one_of,
    rate,
    text,
    whole_number,
    yes_or_no,
)
from pipeline.sources.base import Source
from pipeline.system.precision import Precision
from pipeline.system.threads import processors
from pipeline.video.limits import MAX_PIXELS
from pipeline.video.modes import DECODERS, PixelMode, PixelSpec, check_decoder

if TYPE_CHECKING:
    from pipeline.build.plan.like import Like

Resample = Literal["bilinear", "bicubic"]
# Raised whenever the same configuration would give other features than before: another way to
# sample, to read pixels, to resize or to normalise.
EXTRACTION = 2
# By device and whether inputs are windows; on a GPU the most that is tried.
BATCH_SIZES = {("cpu", False): 8, ("cpu", True): 4, ("cuda", False): 256, ("cuda", True): 32}


OPTIONAL = ("pixels", "fps", "min_frames", "image_fps", "batch_size", "view_number")
CHOICES: dict[str, tuple[str, ...]] = {
    "pixels": get_args(PixelMode),
    "decoder": DECODERS,
    "resample": get_args(Resample),
    "precision": get_args(Precision),
    "dtype": DTYPES,
    "format": tuple(SUFFIX_OF),
    "compression": COMPRESSIONS,
}


def _feature_kind(name: str, value: Any) -> str:
    if not isinstance(value, str) or not is_feature_kind(value):
        raise InputError(
            f"--{name} is {value!r}; it is pooled, cls, mean, tokens, grid:SIDE such as grid:2, "
            "or stages:N,N such as stages:2,3 of a timm model."
        )
    return value


# What makes each field one type, or refuses it.
CHECKS: tuple[tuple[Iterable[str], Callable[[str, Any], Any]], ...] = (
    (("store",), folder),
    (
        (
            "size",
            "window",
            "hop",
            "workers",
            "batch_size",
            "min_frames",
            "max_pixels",
            "view_number",
        ),
        whole_number,
    ),
    (("fps", "image_fps"), rate),
    (("every_frame", "repair", "retry_failed", "allow_mixed_numerics", "view_flip"), yes_or_no),
    (("bucket", "backbone", "architecture", "weights", "device"), text),
    (("normalise",), lambda name, value: _parsed(Normalisation, name, value)),
    (("max_failures",), lambda name, value: _parsed(FailureLimit, name, value)),
    (("fit",), fit_of),
    (("features",), _feature_kind),
    (CHOICES, lambda name, value: one_of(name, value, CHOICES[name])),
)


T = TypeVar("T", Normalisation, FailureLimit)


def _parsed(kind: type[T], name: str, value: Any) -> T:
    """Return a value of a type, of which the text may be given."""
    return value if isinstance(value, kind) else kind.parse(text(name, value))


def default_workers() -> int:
    """Return how many pieces of videos are decoded at once: the processors, up to 16."""
    return min(16, processors())


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Everything that ``featstore build`` can be told.

    Attributes
    ----------
    source : Source
    store : Path
        Folder of stores.
    bucket : str
        Where the store goes instead, a URL such as ``s3://bucket/prefix``; the folder of stores
        keeps what was learnt of files.
    backbone : str
        A name of `models.catalogue.BACKBONES`, ``timm:NAME`` or ``hf:FAMILY``.
    architecture : str
        The configuration of a model of transformers, as JSON; empty for other backbones. Made of
        ``hf:FOLDER`` by `pipeline.build.plan.request.build_options`.
    weights : str
        A file, ``default`` or the name of torchvision's weights, ``random`` or ``random:SEED``.
    features : str
        ``pooled``, ``cls``, ``mean``, ``grid:SIDE``, ``tokens`` or ``stages:N,N``; see
        `models.feature_kinds`.
    pixels : {"luma", "rgb"} or None
        None takes the source's advice, as do `fps` and `min_frames`.
    decoder : {"pyav", "torchcodec:cpu", "torchcodec:cuda"}
    size : int
        Side of the square that the backbone sees, in pixels.
    fit : str
        ``squash``, ``crop``, ``crop:EDGE`` or ``pad``; see `pipeline.build.plan.fit`.
    resample : {"bilinear", "bicubic"}
    fps : Fraction or None
    every_frame : bool
        Sample every frame whatever the source advises.
    window, hop : int
        Frames in a step of a video backbone, and between two of them.
    min_frames : int or None
    normalise : Normalisation
        Or its text: ``split``, ``imagenet`` or ``MEAN,STD``.
    image_fps : Fraction or None
        Rate of folders of numbered images.
    view_number : int or None
        Which augmented view the store holds; None for the plain picture.
    view_flip : bool
        Whether half of the clips of the augmented view are flipped.
    precision : {"float32", "tf32", "bf16", "fp16"}
        That the backbone computes in; what it costs is measured. Features stay float32.
    dtype : {"float32", "float16"}
    format : {"zarr", "hdf5"}
    compression : {"none", "zstd", "blosc"}
        How the same features are stored; no part of any key, like all that follow.
    repair : bool
        Recompute what a sealed store lost.
    retry_failed : bool
        Try the failed clips of a sealed store again.
    max_failures : FailureLimit
        How many clips may fail before the build stops. Or its text: a number, or a share such as
        ``1%``.
    allow_mixed_numerics : bool
        Go on from, or copy, features whose last bits may differ.
    device, batch_size, workers
        How features are computed.
    max_pixels : int
        That a picture may have; larger ones are refused before they are decoded.
    like : Like or None
        The run or store that the options of its features were taken from.
    """

    source: Source
    store: Path = DEFAULT_STORE_ROOT
    bucket: str = ""
    backbone: str = "resnet18"
    architecture: str = ""
    weights: str = "default"
    features: str = POOLED
    pixels: PixelMode | None = None
    decoder: str = "pyav"
    size: int = 224
    fit: str = "squash"
    resample: Resample = "bilinear"
    fps: Fraction | None = None
    every_frame: bool = False
    window: int = 16
    hop: int = 8
    min_frames: int | None = None
    normalise: Normalisation = SPLIT
    image_fps: Fraction | None = None
    view_number: int | None = None
    view_flip: bool = False
    precision: Precision = "float32"
    dtype: str = "float32"
    format: str = "zarr"
    compression: str = "none"
    repair: bool = False
    retry_failed: bool = False
    max_failures: FailureLimit = NO_FAILURE
    allow_mixed_numerics: bool = False
    device: str = "auto"
    batch_size: int | None = None
    workers: int = field(default_factory=default_workers)
    max_pixels: int = MAX_PIXELS
    like: Like | None = None

    def __post_init__(self) -> None:
        for names, checked in CHECKS:
            for name in names:
                value = getattr(self, name)
                if value is not None or name not in OPTIONAL:
                    object.__setattr__(self, name, checked(name, value))
        if (self.store / "zarr.json").exists():
            raise InputError(
                f"--stores is {self.store}, which is a store; give the folder around it."
            )
        if self.every_frame and self.fps is not None:
            raise InputError(
                f"--fps is {self.fps}, and every frame is asked for; give one of both."
            )
        if self.view_flip and self.view_number is None:
            raise InputError("view_flip flips an augmented view; give view_number, too.")
        check_backbone(self.backbone, self.size, self.window, self.architecture)
        check_edge(self.fit, self.size)
        check_decoder(self.decoder, self.pixels)
        check_storage(self.format, self.compression)
        if self.bucket and (self.format != "zarr" or self.repair or self.retry_failed):
            raise InputError(
                f"--stores is {self.bucket}, where --format hdf5, --repair and --retry-failed have "
                "no place to work; build in a folder, and `featstore export` the store."
            )

    @property
    def view(self) -> AugmentedView | None:
        """The augmented view; None for the plain picture."""
        return AugmentedView(self.view_number, self.view_flip) if self.view_number else None

    @property
    def codec(self) -> Codec:
        """How features are stored."""
        return Codec(self.dtype, self.compression)

    @property
    def takes_windows(self) -> bool:
        """Whether the backbone takes windows of frames."""
        if self.architecture:
            return family_of(parse_object(self.architecture)).kind == "video"
        spec = BACKBONES.get(self.backbone)
        return spec is not None and spec.kind == "video"


def check_backbone(name: str, size: int, window: int, architecture: str = "") -> None:
    """Refuse a backbone that is not known, or a size or window that it cannot take.

    Raises
    ------
    InputError
    """
    if name.startswith(TIMM) or architecture:
        return
    if name.startswith(HF):
        raise InputError(
            f"--backbone is {name}, and the model's configuration is missing; give "
            "--backbone hf:FOLDER."
        )
    if name not in BACKBONES:
        raise InputError(
            f"--backbone is {name!r}{did_you_mean(name, BACKBONES)}; there are "
            f"{', '.join(BACKBONES)}, timm:NAME and hf:FOLDER."
        )
    spec = BACKBONES[name]
    asked = [("size", size, spec.size, spec.min_size)]
    if spec.kind == "video":
        asked.append(("window", window, spec.window, spec.min_window))
    for flag, value, only, least in asked:
        if only is not None and value != only:
            raise InputError(
                f"--{flag} is {value}, and {name} takes {only} only; give --{flag} {only}."
            )
        if value < least:
            raise InputError(
                f"--{flag} is {value}, and {name} takes {least} or more; give another --{flag}."
            )


def feature_configuration(options: BuildOptions, pixels: PixelSpec, weights: str) -> dict[str, Any]:
    """Return the configuration that both keys cover.

    Parameters
    ----------
    options : BuildOptions
    pixels : PixelSpec
    weights : str
        What names the weights' content: ``sha256:...`` or ``random:SEED``.
    """
    check_decoder(pixels.decoder, pixels.mode)  # the pixels that a source advises, too
    return {
        "extraction": EXTRACTION,
        "decoder": pixels.decoder,
        "pixels": pixels.mode,
        "fps": str(pixels.fps) if pixels.fps is not None else "every frame",
        "image_fps": str(options.image_fps) if options.image_fps is not None else None,
        "window": [options.window, options.hop] if options.takes_windows else None,
        "size": options.size,
        "fit": options.fit,
        **({} if options.resample == "bilinear" else {"resample": options.resample}),
        "normalise": options.normalise.configuration(),
        "backbone": options.backbone,
        **({"architecture": parse_object(options.architecture)} if options.architecture else {}),
        "weights": weights,
        **({} if options.features == POOLED else {"features": options.features}),
        # Absent where it changes nothing: float32 is what there was first.
        **({} if options.precision == "float32" else {"precision": options.precision}),
        **({"view": options.view.configuration()} if options.view else {}),
        "dtype": options.dtype,
    }
