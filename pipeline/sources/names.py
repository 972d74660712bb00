"""Names of labels, subjects, clips and files: one spelling for each, or a sentence why not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from featstore.errors import InputError

# Control characters, among them all that end a line somewhere.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def normal(text: str) -> str:
    r"""Return the one spelling of a name: Unicode's normal form C.

    macOS writes an accented letter as two characters, Linux and spreadsheets as one.

    Examples
    --------
    >>> normal("Jose\u0301") == "Jos\u00e9"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def printable(text: str) -> str:
    r"""Return a name with the bytes escaped that are not UTF-8.

    Examples
    --------
    >>> printable("caf\udce9.mp4")
    'caf\\xe9.mp4'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_utf8(path: Path) -> None:
    """Refuse a path that is not UTF-8: no store and no table can hold its name.

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
        `where` says in which row the name was found, and `what` what it names.
    """
    if hit := _CONTROL.search(name):
        kind = "a line break" if len(f"a{hit[0]}b".splitlines()) > 1 else "a control character"
        raise InputError(
            f"{where}: {what} {name!a} holds {kind} ({ascii(hit[0])[1:-1]}); take it out."
        )


def lookalikes(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of names that differ only by case, blanks or invisible characters.

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
    """Return where a file lies whose name a table may spell in another normal form.

    Parameters
    ----------
    path : Path
        Where the file lies by its name.
    name : str
        The part of the path that the table names; the part before is taken as it is.

    Raises
    ------
    InputError
        If two files have this name in different normal forms.
    """
    if name.isascii():
        return path
    count = len(PurePosixPath(name).parts)
    found = Path(*path.parts[:-count]) if count < len(path.parts) else Path(path.anchor)
    for part in path.parts[len(found.parts) :]:
        found = found / part if part.isascii() else _entry(found, part)
    return found


def _entry(folder: Path, name: str) -> Path:
    try:
        same = sorted(e for e in folder.iterdir() if normal(e.name) == normal(name))
    except OSError:  # not there, or not to be listed
        return folder / name
    if len(same) > 1:
        raise InputError(
            f"{folder} has {len(same)} entries called {name}, which differ only in how Unicode "
            f"writes accents: {', '.join(ascii(entry.name) for entry in same)}; rename one."
        )
    return same[0] if same else folder / name


def lookalike_notes(what: str, parts: Mapping[str, str]) -> list[str]:
    """Return a note for every group of names that look alike.

    Parameters
    ----------
    what : str
        What they name, such as ``Subjects``.
    parts : mapping of str to str
        Name to what to say of it, such as its part; may be empty.
    """
    return [
        f"{what} differ only by case or blanks: "
        + ", ".join(f'"{name}"' + (f" ({parts[name]})" if parts[name] else "") for name in group)
        + "; if they are one, write them alike."
        for group in lookalikes(parts)
    ]
