"""The flags that say what to extract; shared by every command that names a store by them."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import click

from featstore.format.codecs import DTYPES
from featstore.manage.catalogue import DEFAULT_STORE_ROOT
from models.catalogue import BACKBONES
from pipeline.build.plan.options import BATCH_SIZES, BuildOptions, Resample
from pipeline.build.plan.request import DEFAULT_SOURCE, EVERY_FRAME
from pipeline.cli.help import (
    BACKBONE,
    PIXELS,
    READ,
    RUN,
    SOURCE,
    WRITE,
    Decorator,
    Function,
    SourceOption,
    heading,
)
from pipeline.option_values import flag_of
from pipeline.sources import Source, sources
from pipeline.system.precision import Precision
from pipeline.video.modes import DECODERS, PixelMode

# A dataclass keeps the defaults of its fields as attributes.
DEFAULT = BuildOptions

STORES = heading(READ)(
    "--stores",
    "store",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of stores.  [default: {DEFAULT_STORE_ROOT}]",
)
PLACE = heading(WRITE)(
    "--stores",
    "store",
    metavar="FOLDER|URL",
    help=f"Folder of stores, or s3://...  [default: {DEFAULT_STORE_ROOT}]",
)
LAST_SEED = 2**63 - 1
OLD_STORE = {"--store": "--stores"}
OLD_ROOT = {"--root": "--stores"}
OLD_SPLITS = {"--splits": "--split-file"}


class Rate(click.ParamType):  # type: ignore[type-arg]
    """A positive number, kept exact: 10, 12.5 or 30000/1001."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Fraction:
        """Return the number as a fraction."""
        try:
            rate = Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if rate <= 0:
            self.fail(f"{value!r} is not a positive number such as 10 or 30000/1001.", param, ctx)
        return rate


class FrameRate(Rate):
    """A rate, or ``all`` for every frame."""

    name = "number|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a fraction, or ``all``."""
        if str(value).lower() == EVERY_FRAME:
            return EVERY_FRAME
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise click.BadParameter(
                f"{error.message} Or `all` for every frame.", ctx, param
            ) from None


def text(meaning: str, field: str) -> str:
    """Return the help of a flag, with the default that its field of `BuildOptions` has."""
    return f"{meaning}  [default: {getattr(DEFAULT, field)}]"


read, pixels, backbone, write, how_to_run = map(heading, (READ, PIXELS, BACKBONE, WRITE, RUN))

DEVICE = how_to_run(
    "--device", default=DEFAULT.device, show_default=True, help="auto, cpu, cuda or cuda:N."
)
DASK = how_to_run(
    "--dask",
    metavar="local:N|ADDRESS|FILE",
    help="Compute in N processes on this machine, or on the workers of the Dask scheduler with "
    "this address or scheduler file.",
)
BATCH_SIZE = how_to_run(
    "--batch-size",
    type=int,
    help="Inputs of the backbone in one batch.  "
    f"[default: {BATCH_SIZES['cpu', False]} frames or {BATCH_SIZES['cpu', True]} windows on a CPU; "
    f"up to {BATCH_SIZES['cuda', False]} or {BATCH_SIZES['cuda', True]} on a GPU, as many as fit]",
)
MIXED_NUMERICS = how_to_run(
    "--allow-mixed-numerics",
    is_flag=True,
    help="Resume from, or copy, features that other software or hardware computed. Their last "
    "bits may differ.",
)

BACKBONE_FLAGS: tuple[tuple[str, str], ...] = (
    (
        "--backbone",
        text(
            f"{', '.join(BACKBONES)}, timm:NAME, or hf:FOLDER (a model of "
            "transformers, which decides size, fit, resample, normalise and window "
            "unless they are given).",
            "backbone",
        ),
    ),
    (
        "--weights",
        text(
            "A .safetensors or .pth file, `default` or the name of torchvision's "
            "weights (downloaded), or random[:SEED].",
            "weights",
        ),
    ),
)

FEATURE_FLAGS = (
    read("--like", metavar="RUN|STORE",
         help="Take everything that decides features, and the classes, from a run or a store. A "
         "table then needs no label and no split: its clips are test."),
    read("--image-fps", type=Rate(), help="Frame rate of folders of numbered images."),
    read("--min-frames", type=int,
         help="Drop shorter clips.  [default: as the source advises, else 1]"),
    read("--max-pixels", type=int,
         help=text("Refuse videos and images with more pixels than this.", "max_pixels")),
    pixels("--pixels", type=click.Choice(get_args(PixelMode)),
           help="luma suits infrared.  [default: as the source advises, else rgb]"),
    pixels("--size", type=int, help=text("Side of the backbone's input, in pixels.", "size")),
    pixels("--fit", metavar="squash|crop|crop:EDGE|pad",
           help=text("How a frame becomes a square; crop:256 resizes the shorter side to 256 and "
                     "crops the centre.", "fit")),
    pixels("--resample", type=click.Choice(get_args(Resample)),
           help=text("How frames are resized, both with antialiasing.", "resample")),
    pixels("--fps", type=FrameRate(),
           help=f"Frames sampled per second, or `{EVERY_FRAME}`.  [default: as the source advises, "
           f"else {EVERY_FRAME}]"),
    pixels("--normalise",
           help=text("split (measured on its training clips), imagenet, or MEAN,STD of pixels in "
                     "0..1.", "normalise")),
    pixels("--decoder", type=click.Choice(list(DECODERS)),
           help=text("torchcodec:cuda decodes RGB on a GPU. It does not notice damaged frames.",
                     "decoder")),
    backbone("--features", metavar="pooled|cls|mean|grid:N|tokens",
             help=text("What a step is: what the classifier takes; the class token; the mean over "
                       "all places; the means of N x N parts; or all places.", "features")),
    backbone("--window", type=int,
             help=text("Frames in one step of a video backbone.", "window")),
    backbone("--hop", type=int,
             help=text("Frames from one step of a video backbone to the next.", "hop")),
    backbone("--precision", type=click.Choice(get_args(Precision)),
             help=text("The backbone computes in this precision. The build measures the error.",
                       "precision")),
    write("--dtype", type=click.Choice(DTYPES),
          help=text("float16 halves the store. The build measures the error.", "dtype")),
    how_to_run("--workers", type=int,
               help="Videos, or pieces of them, decoded at once.  [default: the processors, "
               "up to 16]"),
)  # fmt: skip


def store_flag(default: str) -> Decorator:
    """Return the flag ``--store``, whose help says what it is by default."""
    return read(
        "--store",
        "stores",
        multiple=True,
        metavar="STORE",
        help="Path or URL of a store, or the beginning of its key or name. Repeat it for the clips "
        f"that several stores share.  [default: {default}]",
    )


STORE = store_flag("the only store of the folder, or the one built last")
FOLDER = read(
    "--stores",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_STORE_ROOT,
    show_default=True,
    help="Folder of stores, where keys and names are looked up.",
)
VIEWS = read(
    "--views",
    type=int,
    default=1,
    metavar="N",
    help="Read the store and its N - 1 augmented views, which `featstore build --views N` made.  "
    "[default: 1]",
)
ALLOW_MISSING = read(
    "--allow-missing", is_flag=True, help="Leave out clips that some of the stores lack."
)
NO_CHECK = read("--no-check", is_flag=True, help="Do not compare features with their checksums.")
SEED = click.IntRange(0, LAST_SEED)


def feature_flags(function: Function, /, *, several: bool = False) -> Function:
    """Add the flags that decide what is extracted from what, by one backbone or several."""
    backbones = [
        backbone(name, multiple=several, default=() if several else None, help=meaning)
        for name, meaning in BACKBONE_FLAGS
    ]
    for flag in reversed((*source_flags(), *backbones, *FEATURE_FLAGS)):
        function = flag(function)
    return function


def source_flags() -> list[Decorator]:
    """Make the flags of every source from the fields of its dataclass."""
    known = sources()
    owners: dict[str, list[str]] = {}
    examples: dict[str, tuple[Field[Any], Any]] = {}
    for name, source in known.items():
        hints = get_type_hints(source)
        for field in fields(source):  # type: ignore[arg-type]
            owners.setdefault(field.name, []).append(name)
            examples.setdefault(field.name, (field, hints[field.name]))
    made: list[Decorator] = [read(SOURCE, help=f"{', '.join(known)}.  [default: {DEFAULT_SOURCE}]")]
    for name, (field, hint) in examples.items():
        made.append(
            click.option(
                flag_of(name),
                name,
                type=_type(field, hint),
                cls=SourceOption,
                meanings={owner: _meaning(known[owner], name) for owner in owners[name]},
            )
        )
    return made


def _meaning(source: type[Source], name: str) -> str:
    """Return what a flag means to a source, with its default, or that the source needs it."""
    field = next(field for field in fields(source) if field.name == name)  # type: ignore[arg-type]
    meaning = str(field.metadata["help"])
    if field.default is MISSING:
        return f"{meaning}  [required]"
    return meaning if field.default is None else f"{meaning}  [default: {field.default}]"


def _type(field: Field[Any], hint: Any) -> Any:
    if field.metadata["choices"]:
        return click.Choice(list(field.metadata["choices"]))
    plain = next((own for own in get_args(hint) if own is not NoneType), hint)
    return click.Path(path_type=Path) if plain is Path else plain
