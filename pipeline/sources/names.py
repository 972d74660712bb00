"""Normalise and check the names of labels, subjects, clips and files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from featstore.errors import InputError

# Control characters, including all line breaks.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def normal(text: str) -> str:
    r"""Return a name in Unicode's normal form C.

    macOS writes an accented letter as two characters, Linux and spreadsheets as one.

    Examples
    --------
    >>> normal("Jose\u0301") == "Jos\u00e9"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def printable(text: str) -> str:
    r"""Return a name with escapes for bytes that are not UTF-8.

    Examples
    --------
    >>> printable("caf\udce9.mp4")
    'caf\\xe9.mp4'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_utf8(path: Path) -> None:
    """Refuse a path that is not UTF-8, because stores and tables cannot hold its name.

    Raises
    ------
    InputError
    """
    name = str(path)
    if not name.isascii() and (shown := printable(name)) != name:
        raise InputError(f"{shown}: this name is not UTF-8; rename it.")


def check_characters(what: str, name: str, where: str) -> None:
    """Refuse a name with a line break or another control character.

    Raises
    ------
    InputError
        `where` is the file and row of the name, and `what` the kind of name.
    """
    if hit := _CONTROL.search(name):
        kind = "a line break" if len(f"a{hit[0]}b".splitlines()) > 1 else "a control character"
        raise InputError(
            f"{where}: {what} {name!a} holds {kind} ({ascii(hit[0])[1:-1]}); remove it."
        )


def lookalikes(names: Iterable[str]) -> list[list[str]]:
    """Return groups of names that differ only in case, blanks or invisible characters.

    Examples
    --------
    >>> lookalikes(["P01", "p01", "Ann  Lee", "Bo", "Ann Lee"])
    [['Ann  Lee', 'Ann Lee'], ['P01', 'p01']]
    """
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(_shape(name), set()).add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _shape(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


def on_disk(path: Path, name: str) -> Path:
    """Return the path of a file on disk; its Unicode form may differ from that in the table.

    Parameters
    ----------
    path : Path
        Path of the file as the table spells it.
    name : str
        The part of the path from the table; the part before it is not changed.

    Raises
    ------
    InputError
        If two files have this name in different normal forms.
    """
    if name.isascii():
        return path
    count = len(PurePosixPath(name).parts)
    existing = Path(*path.parts[:-count]) if count < len(path.parts) else Path(path.anchor)
    for part in path.parts[len(existing.parts) :]:
        existing = existing / part if part.isascii() else _entry(existing, part)
    return existing


def _entry(folder: Path, name: str) -> Path:
    try:
        same = sorted(e for e in folder.iterdir() if normal(e.name) == normal(name))
    except OSError:  # missing, or not listable
        return folder / name
    if len(same) > 1:
        raise InputError(
            f"{folder} has {len(same)} entries named {name} in different Unicode forms: "
            f"{', '.join(ascii(entry.name) for entry in same)}; rename one."
        )
    return same[0] if same else folder / name


def lookalike_notes(what: str, parts: Mapping[str, str]) -> list[str]:
    """Return a note for every group of similar names.

    Parameters
    ----------
    what : str
        Kind of names, such as ``Subjects``.
    parts : mapping of str to str
        Remark for each name, such as its part; may be empty.
    """
    return [
        f"{what} differ only in case or blanks: "
        + ", ".join(f'"{name}"' + (f" ({parts[name]})" if parts[name] else "") for name in group)
        + "; if they are the same, spell them the same."
        for group in lookalikes(parts)
    ]
