"""Read class lists, look labels up, and suggest the nearest name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import InputError
from featstore.text import listed, nearest_name
from pipeline.sources.names import check_characters, printable
from pipeline.sources.rows import read_lines

_NUMBERED = re.compile(r"(\d+)\s+(\S.*)")


def nearest_hint(name: str, names: Iterable[str]) -> str:
    """Return a hint to put at the end of a message; empty where no name is near.

    Examples
    --------
    >>> nearest_hint("Eatin", ["drinking", "eating"]), nearest_hint("xyz", ["eating"])
    ('; the nearest name is "eating"', '')
    """
    near = nearest_name(name, names)
    return f'; the nearest name is "{near}"' if near else ""


def listing(names: Collection[str], limit: int = 20) -> str:
    """Return the first `limit` names in one line, and the number of the others.

    Examples
    --------
    >>> listing(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    return printable(listed(names, most=limit))


@dataclass(frozen=True, slots=True)
class ClassList:
    """The allowed labels, in the order of their numbers.

    Attributes
    ----------
    names : tuple of str
    numbers : mapping of int to str
        The names of integer labels; empty if integers are not allowed.
    origin : str
        The origin of the list, for messages.
    """

    names: tuple[str, ...]
    numbers: Mapping[int, str]
    origin: str

    def resolve(self, label: str, where: str) -> str:
        """Return the name of a label, which is a name or an integer.

        Raises
        ------
        InputError
            If `label` is neither; `where` is its file and row.
        """
        if label in self.names:
            return label
        if label.isdecimal() and self.numbers:
            if int(label) in self.numbers:
                return self.numbers[int(label)]
            raise InputError(
                f"{where}: label {label} is not a number of {self.origin}, "
                f"which holds {min(self.numbers)} to {max(self.numbers)}"
            )
        raise InputError(
            f'{where}: label "{label}" is not in {self.origin}{nearest_hint(label, self.names)}'
        )


def read_classes(path: Path) -> ClassList:
    """Return a class list from a file: one name per line (from 0), or ``1 Name`` on every line.

    Raises
    ------
    InputError
        If the file is missing or empty, a name or number occurs twice, or a name holds control
        characters.
    """
    numbered = read_lines(path)
    lines = [line for _, line in numbered]
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    pairs = [(int(match[1]), match[2]) for match in matches if match]
    # A plain name may start with a number, so numbers only count if every line has one.
    if len(pairs) < len(lines):
        pairs = list(enumerate(lines))
    for (_, name), (row, _) in zip(pairs, numbered, strict=True):
        check_characters("class", name, f"{path} row {row}")
    for what, values in (
        ("number", [str(number) for number, _ in pairs]),
        ("class", [name for _, name in pairs]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise InputError(f"{path} lists the {what} {listing(twice)} twice; keep one of them")
    pairs.sort()
    return ClassList(tuple(name for _, name in pairs), dict(pairs), str(path))
