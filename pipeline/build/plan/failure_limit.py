"""How many clips may fail before a build stops, as ``--max-failures`` names it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from featstore.errors import InputError


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """A number of clips, or a share of them.

    Attributes
    ----------
    clips : int
    percent : float or None
        Of all clips; it takes the place of `clips`.
    """

    clips: int = 0
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> FailureLimit:
        """Return what a text means.

        Raises
        ------
        InputError
            If it is neither a number nor a share.

        Examples
        --------
        >>> FailureLimit.parse("3"), FailureLimit.parse("1%")
        (FailureLimit(clips=3, percent=None), FailureLimit(clips=0, percent=1.0))
        """
        if not re.fullmatch(r"[0-9]+|[0-9]+(\.[0-9]+)?%", text):
            raise InputError(
                f"--max-failures is {text!r}; it is a number of clips, such as 3, or a share of "
                "them, such as 1%."
            )
        return cls(percent=float(text[:-1])) if text.endswith("%") else cls(int(text))

    def of(self, clips: int) -> int:
        """Return how many of a number of clips may fail.

        Examples
        --------
        >>> FailureLimit.parse("1%").of(250)
        2
        """
        return self.clips if self.percent is None else int(clips * self.percent / 100)

    def __bool__(self) -> bool:
        """Tell whether any clip may fail, if there are enough clips."""
        return bool(self.clips or self.percent)

    def __str__(self) -> str:
        return str(self.clips) if self.percent is None else f"{self.percent:g}%"


NO_FAILURE = FailureLimit()
