"""Which pixels are taken of a video, and by what: names alone, for options and keys."""

from __future__ import annotations

from typing import Literal

from featstore.errors import InputError

PixelMode = Literal["luma", "rgb"]

# Named by what decodes, not by what the machine happens to have: the name is part of the key.
DECODERS = ("pyav", "torchcodec:cpu", "torchcodec:cuda")


def check_decoder(name: str, pixels: PixelMode | None) -> None:
    """Refuse a decoder that does not give such pixels.

    Raises
    ------
    InputError
    """
    if pixels == "luma" and name != "pyav":
        raise InputError(
            f"--decoder is {name}, which gives RGB only, and pixels are luma; give --decoder pyav, "
            "or --pixels rgb."
        )
