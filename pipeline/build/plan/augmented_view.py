"""Augmented views: seeded changes of a clip's pictures, whose features a store holds. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

# Sides of the crop, in percent. There are few because the weights of a resize are cached by size.
SIDES = (80, 85, 90, 95, 100)
TONE = 0.2  # brightness and contrast are factors of 1 - TONE to 1 + TONE
FLIPPED = 0.5  # share of clips that are flipped, if that is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to every picture of one clip.

    Attributes
    ----------
    side : int
        Sides of the crop, in percent of those of the picture.
    top, left : float
        Where the crop lies: 0 is the first place that it can have, 1 the last.
    brightness : float
        The mean of the training pixels is multiplied by it.
    contrast : float
        Differences from that mean are multiplied by it.
    flip : bool
        Whether left and right are exchanged.
    """

    side: int
    top: float
    left: float
    brightness: float
    contrast: float
    flip: bool


@dataclass(frozen=True, slots=True)
class AugmentedView:
    """One augmented view of every clip of a store.

    Attributes
    ----------
    number : int
        1 or more; the plain picture is view 0.
    flip : bool
        Whether half of the clips are flipped.
    """

    number: int
    flip: bool = False

    def configuration(self) -> dict[str, Any]:
        """Return what the keys cover."""
        return {"number": self.number, "sides": list(SIDES), "tone": TONE, "flip": self.flip}

    def change(self, video: str, start: int, stop: int) -> Change:
        """Return the change of a clip, which depends on nothing but the clip and the view.

        The draws are parts of a hash, so that they are the same with every version of numpy.

        Parameters
        ----------
        video : str
            The content of the video, as in `featstore.keys.ClipKey`.
        start, stop : int
            The clip's interval in frames.

        Examples
        --------
        >>> view = AugmentedView(1)
        >>> view.change("ab12", 0, 50) == view.change("ab12", 0, 50)
        True
        >>> view.change("ab12", 0, 50) == AugmentedView(2).change("ab12", 0, 50)
        False
        """
        seed = hashlib.sha256(f"{video} {start} {stop} {self.number}".encode()).digest()
        side, top, left, brightness, contrast, flip = (
            int.from_bytes(seed[first : first + 4], "big") / 2**32 for first in range(0, 24, 4)
        )
        return Change(
            side=SIDES[int(side * len(SIDES))],
            top=top,
            left=left,
            brightness=1 - TONE + 2 * TONE * brightness,
            contrast=1 - TONE + 2 * TONE * contrast,
            flip=self.flip and flip < FLIPPED,
        )
