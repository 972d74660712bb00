"""The mean and std that pixels are normalised with, as ``--normalise`` names them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from featstore.errors import InputError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Where mean and std come from.

    Attributes
    ----------
    text : str
        ``split``, ``imagenet``, ``MEAN,STD`` or ``R,G,B,R,G,B``, as it was given.
    mean, std : tuple of float
        In 0..1: one value for every channel, or three. Empty where they are measured.
    """

    text: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Normalisation:
        """Return what a text means.

        Raises
        ------
        InputError
            If the text is none of the forms, or the values are not those of pixels in 0..1.

        Examples
        --------
        >>> Normalisation.parse("0.4,0.2")
        Normalisation(text='0.4,0.2', mean=(0.4,), std=(0.2,))
        """
        if text == "split":
            return cls(text)
        if text == "imagenet":
            return cls(text, *IMAGENET)
        try:
            values = [float(value) for value in text.split(",")]
        except ValueError:
            values = []
        if len(values) not in (2, 6) or not all(map(math.isfinite, values)):
            raise InputError(
                f"--normalise is {text!r}; it is split, imagenet, MEAN,STD or R,G,B,R,G,B "
                "(three means, then three stds) of pixels in 0..1, such as 0.45,0.22."
            )
        half = len(values) // 2
        mean, std = tuple(values[:half]), tuple(values[half:])
        if min(std) <= 0:
            raise InputError(f"--normalise is {text!r}; a standard deviation must be above 0.")
        if min(mean) < 0 or max(*mean, *std) > 1:
            raise InputError(
                f"--normalise is {text!r}, and pixels lie in 0..1; divide values of 0..255 by 255."
            )
        return cls(text, mean, std)

    @property
    def measured(self) -> bool:
        """Whether mean and std are measured on the training clips."""
        return not self.mean

    @property
    def origin(self) -> str:
        """``split``, ``imagenet`` or ``fixed``."""
        return self.text if self.text in ("split", "imagenet") else "fixed"

    def configuration(self) -> dict[str, Any]:
        """Return what a feature configuration says of it."""
        if self.measured:
            return {"from": "split"}
        return {"mean": list(self.mean), "std": list(self.std)}

    def __str__(self) -> str:
        return self.text


SPLIT = Normalisation("split")
