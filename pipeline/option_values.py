"""Values of options, wherever they come from: one type and one spelling for each, or a refusal."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.format.files import is_remote
from featstore.writing.destinations import SUFFIX_OF


def flag_of(field: str) -> str:
    """Return the flag of a field.

    Examples
    --------
    >>> flag_of("batch_size")
    '--batch-size'
    """
    return f"--{field.replace('_', '-')}"


def whole_number(field: str, value: Any) -> int:
    """Return a number of 1 or more as an int.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> whole_number("size", 224.0)
    224
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if is_number and value == value // 1:
        if value < 1:
            raise InputError(f"{flag_of(field)} is {value}; it must be 1 or more.")
        return int(value)
    raise InputError(f"{flag_of(field)} is {value!r}; it must be a whole number of 1 or more.")


def rate(field: str, value: Any) -> Fraction:
    """Return frames a second as an exact fraction; a float stands for the decimals it shows.

    Raises
    ------
    InputError
        If it is not a positive number, or a text of one.

    Examples
    --------
    >>> rate("fps", 8.0) == rate("fps", 8) == rate("fps", "8") == 8
    True
    >>> rate("fps", 29.97), rate("fps", "30000/1001")
    (Fraction(2997, 100), Fraction(30000, 1001))
    """
    is_number = isinstance(value, str | numbers.Real | Decimal) and not isinstance(value, bool)
    try:
        exact = Fraction(str(value)) if is_number else Fraction(0)
    except (ValueError, ZeroDivisionError):
        exact = Fraction(0)
    if exact <= 0:
        raise InputError(
            f"{flag_of(field)} is {value!r}; it must be a positive number such as 10 or 30000/1001."
        )
    return exact


def one_of(field: str, value: Any, choices: Sequence[str]) -> str:
    """Return one of some texts.

    Raises
    ------
    InputError
        If the value is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{flag_of(field)} is {value!r}; it is one of {', '.join(choices)}.")
    return str(value)


def yes_or_no(field: str, value: Any) -> bool:
    """Return a bool.

    Raises
    ------
    InputError
        If it is not True or False.
    """
    if value not in (True, False):
        raise InputError(f"{flag_of(field)} is {value!r}; it is True or False.")
    return bool(value)


def text(field: str, value: Any) -> str:
    """Return a text; a path becomes one, and so does a whole number.

    Raises
    ------
    InputError
        If the value is of another type.
    """
    if isinstance(value, PathLike):
        return str(fspath(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{flag_of(field)} is {value!r}; it must be a text.")
    return str(value)


def folder(field: str, value: Any) -> Path:
    """Return a path of the local disk.

    Raises
    ------
    InputError
        If it is a URL, or of another type.
    """
    if is_remote(value) or not isinstance(value, str | PathLike):
        raise InputError(
            f"{flag_of(field)} is {value!r}; it must be a path of the local disk (from Python, a "
            "URL is given as bucket)."
        )
    return Path(value)


def check_storage(form: str, compression: str) -> None:
    """Refuse a format that is not known, or a compression that it does not have.

    Raises
    ------
    InputError
    """
    one_of("format", form, tuple(SUFFIX_OF))
    if form == "hdf5" and compression != "none":
        raise InputError(
            f"--compression is {compression}, and HDF5 stores are not compressed, because "
            "few readers have its plugins; give --format zarr, or leave compression out."
        )
