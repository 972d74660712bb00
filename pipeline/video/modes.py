"""Names of pixel modes and decoders, for options and keys."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from featstore.errors import InputError

PixelMode = Literal["luma", "rgb"]

# The name is part of the key, so it names the decoder and not this machine's hardware.
DECODERS = ("pyav", "torchcodec:cpu", "torchcodec:cuda")


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """Which pixels of a video are read.

    Attributes
    ----------
    mode : {"luma", "rgb"}
    fps : Fraction or None
        Frames a second; None takes every frame.
    decoder : str
        One of `DECODERS`.
    """

    mode: PixelMode
    fps: Fraction | None
    decoder: str = DECODERS[0]


def check_decoder(name: str, pixels: PixelMode | None) -> None:
    """Refuse a decoder that does not support a pixel mode.

    Raises
    ------
    InputError
    """
    if pixels == "luma" and name != "pyav":
        raise InputError(
            f"--decoder is {name}, which returns RGB only, but pixels are luma; pass "
            "--decoder pyav, or --pixels rgb."
        )
