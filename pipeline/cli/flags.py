"""The flags that say what to extract; shared by every command that names a store by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import click

from models.catalogue import BACKBONES
from pipeline.build.plan.options import BuildOptions
from pipeline.build.plan.request import EVERY_FRAME
from pipeline.option_values import flag_of
from pipeline.sources import sources
from pipeline.video.modes import DECODERS

STORE = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of stores.  [default: features]",
)
PLACE = click.option(
    "--store", metavar="FOLDER|URL", help="Folder of stores, or s3://...  [default: features]"
)

Command = TypeVar("Command", bound=Callable[..., Any])
# A dataclass keeps the defaults of its fields as attributes.
DEFAULT = BuildOptions


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


FEATURE_FLAGS = (
    click.option("--backbone", help=f"{', '.join(BACKBONES)} or timm:NAME.  "
                 f"[default: {DEFAULT.backbone}]"),
    click.option("--weights", help="A .safetensors or .pth file, `default` or the name of "
                 "torchvision's weights (downloaded), or random[:SEED].  "
                 f"[default: {DEFAULT.weights}]"),
    click.option("--pixels", type=click.Choice(["luma", "rgb"]),
                 help="luma for infrared.  [default: as the source advises, else rgb]"),
    click.option("--decoder", type=click.Choice(list(DECODERS)),
                 help="torchcodec:cuda decodes RGB on a GPU; it does not notice damaged frames.  "
                 f"[default: {DEFAULT.decoder}]"),
    click.option("--size", type=int, help="Side of the backbone's input, pixels.  "
                 f"[default: {DEFAULT.size}]"),
    click.option("--fit", type=click.Choice(["squash", "crop", "pad"]),
                 help=f"How a frame becomes a square.  [default: {DEFAULT.fit}]"),
    click.option("--fps", type=FrameRate(),
                 help="Frames sampled a second, or `all`.  [default: as the source advises, "
                 "else all]"),
    click.option("--window", type=int, help="Frames a step of a video backbone.  "
                 f"[default: {DEFAULT.window}]"),
    click.option("--hop", type=int, help="Frames from step to step of one.  "
                 f"[default: {DEFAULT.hop}]"),
    click.option("--min-frames", type=int,
                 help="Drop shorter clips.  [default: as the source advises, else 1]"),
    click.option("--normalise", help="split (measured on its training clips), imagenet, or "
                 f"MEAN,STD of pixels in 0..1.  [default: {DEFAULT.normalise}]"),
    click.option("--precision", type=click.Choice(["float32", "tf32", "bf16", "fp16"]),
                 help="That the backbone computes in; what another one costs is measured.  "
                 f"[default: {DEFAULT.precision}]"),
    click.option("--dtype", type=click.Choice(["float32", "float16"]),
                 help="float16 halves the store; what it costs is measured.  "
                 f"[default: {DEFAULT.dtype}]"),
    click.option("--image-fps", type=Rate(), help="Rate of folders of numbered images."),
    click.option("--workers", type=int,
                 help="Videos, or pieces of them, decoded at once.  [default: the "
                 "processors, up to 16]"),
    click.option("--max-pixels", type=int, help="Pixels that a picture may have.  "
                 "[default: 134217728, as 16384 x 8192]"),
)  # fmt: skip


def feature_flags(command: Command) -> Command:
    """Add the flags that decide what is extracted from what."""
    for flag in reversed((*source_flags(), *FEATURE_FLAGS)):
        command = flag(command)
    return command


def source_flags() -> list[Callable[[Command], Command]]:
    """Make the flags of every source from the fields of its dataclass."""
    known = sources()
    owners: dict[str, list[str]] = {}
    examples: dict[str, tuple[Field[Any], Any]] = {}
    for name, source in known.items():
        hints = get_type_hints(source)
        for field in fields(source):  # type: ignore[arg-type]
            owners.setdefault(field.name, []).append(name)
            examples.setdefault(field.name, (field, hints[field.name]))
    made: list[Callable[[Command], Command]] = [
        click.option("--source", help=f"{', '.join(known)}.  [default: driveact]")
    ]
    for name, (field, hint) in examples.items():
        help_text = _help(name, owners[name])
        made.append(click.option(flag_of(name), name, type=_type(field, hint), help=help_text))
    return made


def _help(name: str, owners: list[str]) -> str:
    """Return what a flag means to each source that has it."""
    meanings: dict[str, list[str]] = {}
    for owner in owners:
        field = next(f for f in fields(sources()[owner]) if f.name == name)  # type: ignore[arg-type]
        shown = field.default is not MISSING and field.default is not None
        default = f" (default: {field.default})" if shown else ""
        meanings.setdefault(f"{field.metadata['help']}{default}", []).append(owner)
    return "  ".join(f"[{', '.join(names)}] {meaning}" for meaning, names in meanings.items())


def _type(field: Field[Any], hint: Any) -> Any:
    if field.metadata["choices"]:
        return click.Choice(list(field.metadata["choices"]))
    plain = next((own for own in get_args(hint) if own is not NoneType), hint)
    return click.Path(path_type=Path) if plain is Path else plain
