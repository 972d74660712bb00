"""Class names in figures, and the installed fonts that can draw them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from featstore.text import count_of, listed, visible

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry
    from matplotlib.ft2font import FT2Font

DEFAULT = "DejaVu Sans"  # ships with matplotlib
LONGEST = 60  # longest name drawn, in characters
_BOXES = "Last Resort"  # this font draws a placeholder box for every character


@dataclass(frozen=True, slots=True)
class Labels:
    """Names as figures show them.

    Attributes
    ----------
    texts : tuple of str
        One per name. A name with a character that no font has is shown by its number.
    families : tuple of str
        Font families that together have all characters.
    notes : list of str
        One sentence if some names are shown by number.
    """

    texts: tuple[str, ...]
    families: tuple[str, ...]
    notes: list[str]


def labels_of(names: Sequence[str]) -> Labels:
    """Return how figures show class names; see `Labels`."""
    texts = [short(visible(name), LONGEST) for name in names]
    fonts, missing = families("".join(sorted(set("".join(texts)))))
    lacking = [text for text in texts if not set(text).isdisjoint(missing)]
    if not lacking:
        return Labels(tuple(texts), fonts, [])
    names_by_text = {
        text: f"class {number}" for number, text in enumerate(texts) if text in lacking
    }
    note = (
        f"No installed font has all characters of {count_of(len(lacking), 'class', 'classes')} "
        f"({listed(lacking, most=3)}): figures show the index in the class list, from 0. "
        "Install a font that has them, such as Noto Sans."
    )
    return Labels(tuple(names_by_text.get(text, text) for text in texts), fonts, [note])


def short(text: str, length: int) -> str:
    """Return the text, cut to `length` characters with an ellipsis if it is longer."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def width(text: str) -> int:
    """Return the width of a text, in Latin letters.

    Examples
    --------
    >>> width("walk"), width("歩く")
    (4, 4)
    """
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


@lru_cache
def families(text: str) -> tuple[tuple[str, ...], str]:
    """Return font families that can draw a text, and the characters that all fonts lack.

    Parameters
    ----------
    text : str

    Returns
    -------
    families : tuple of str
        `DEFAULT` first, then as few installed families as its missing characters need.
    missing : str
        Each missing character once.

    Examples
    --------
    >>> families("walking")
    (('DejaVu Sans',), '')
    """
    from matplotlib.font_manager import findfont, get_font

    chosen = [DEFAULT]
    missing = _lacking(get_font(findfont(DEFAULT)), text)
    while missing:
        name, left = _best(missing)
        if left == missing:
            break
        chosen.append(name)
        missing = left
    return tuple(chosen), "".join(sorted(missing))


def _best(characters: frozenset[str]) -> tuple[str, frozenset[str]]:
    """Return the family that has most of the characters, and the characters it lacks."""
    best, left = "", characters
    for entry, font in _installed():
        lacking = _lacking(font, characters)
        if len(lacking) < len(left):
            best, left = entry.name, lacking
        if not left:
            break
    return best, left


def _installed() -> Iterator[tuple[FontEntry, FT2Font]]:
    """Yield the installed upright fonts: regular weight first, sans serif before others."""
    from matplotlib.font_manager import fontManager, get_font

    first_faces: dict[str, FontEntry] = {}
    for entry in fontManager.ttflist:
        first_faces.setdefault(entry.fname, entry)
    for entry in sorted(first_faces.values(), key=_oddity):
        if entry.style == "normal" and _BOXES not in entry.name:
            try:
                yield entry, get_font(entry.fname)
            except (OSError, RuntimeError):  # removed since matplotlib listed it, or damaged
                continue


def _oddity(entry: FontEntry) -> tuple[bool, bool, bool]:
    return entry.weight != 400, "Sans" not in entry.name, "Mono" in entry.name


def _lacking(font: FT2Font, text: Iterable[str]) -> frozenset[str]:
    return frozenset(character for character in text if not font.get_char_index(ord(character)))
