"""What a build is asked for, by name: from flags of the command line or keywords of Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from featstore.errors import InputError
from featstore.text import did_you_mean
from models.families import HF
from pipeline.build.plan.hub_folder import folder_options
from pipeline.build.plan.options import BuildOptions
from pipeline.option_values import flag_of, whole_number
from pipeline.sources import Source, sources

EVERY_FRAME = "all"
SPLIT_IN_WEIGHTS = "{split}"
DEFAULT_SOURCE = "driveact"


def build_options(given: dict[str, Any], **more: Any) -> BuildOptions:
    """Make options of the flags that were given.

    Parameters
    ----------
    given : dict
        Values by parameter name; None where a flag was not given. Entries that are used are
        taken out.
    **more
        Further fields of BuildOptions.

    Raises
    ------
    InputError
        If the source is unknown, lacks a flag, or does not have one that was given.
    """
    available = sources()
    name = given.pop("source", None) or DEFAULT_SOURCE
    if name not in available:
        hint = did_you_mean(name, available)
        raise InputError(f"--source is {name!r}{hint}; there are {', '.join(available)}.")
    every = {field.name for source in available.values() for field in fields(source)}  # type: ignore[arg-type]
    source = _source(available[name], every, given)
    values = {**given, **more}
    if values.get("fps") == EVERY_FRAME:
        values |= {"fps": None, "every_frame": True}
    if (like := values.pop("like", None)) is not None:
        values |= _like_options(like, values, source)
    elif str(values.get("backbone")).startswith(HF):
        values |= folder_options(str(values["backbone"]), values)
    chosen = {key: value for key, value in values.items() if value is not None}
    _check_names(chosen, [field.name for field in fields(BuildOptions)])
    return BuildOptions(source=source, **chosen)


def options_of_split(asked: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the options of one of several splits, or of one fold if there are folds.

    In ``weights``, the number replaces ``{split}``: finetuned weights belong to one split.

    Parameters
    ----------
    asked : mapping
        Values by parameter name, as for `build_options`.
    number : int
        The number of the split.

    Raises
    ------
    InputError
        If the options already choose a split, or the source has no numbered splits.

    Examples
    --------
    >>> options_of_split({"source": "table", "folds": 5, "weights": "tuned-{split}.pth"}, 2)
    {'source': 'table', 'folds': 5, 'weights': 'tuned-2.pth', 'fold': 2}
    """
    field = "split" if asked.get("folds") is None else "fold"
    if asked.get(field) is not None:
        raise InputError(
            f"--{field} {asked[field]} and --splits both choose a {field}; leave one out."
        )
    name = asked.get("source") or DEFAULT_SOURCE
    source = sources().get(name)
    names = [one.name for one in fields(source)] if source else [field]  # type: ignore[arg-type]
    if field not in names:
        advice = "pass --folds K" if "folds" in names else "leave out --splits"
        raise InputError(f"--splits: --source {name} has no numbered splits; {advice}.")
    weights = asked.get("weights")
    named = {"weights": str(weights).replace(SPLIT_IN_WEIGHTS, str(number))} if weights else {}
    return {**asked, field: number, **named}


def each_view(
    views: int | None, flip: bool = False, *, like: str | Path | None = None
) -> list[dict[str, Any]]:
    """Return the options in which the views of one build differ, those of the plain picture first.

    Parameters
    ----------
    views : int or None
        How many views there are, with the plain picture; None is 1.
    flip : bool
    like : str, Path or None
        The run or store that decides features.

    Raises
    ------
    InputError
        If the number is not 1 or more, there is nothing to flip, or `like` decides the view.

    Examples
    --------
    >>> each_view(3)
    [{}, {'view_number': 1, 'view_flip': False}, {'view_number': 2, 'view_flip': False}]
    """
    count = 1 if views is None else whole_number("views", views)
    if like is not None and (views is not None or flip):
        raise InputError(
            f"--like {like} decides the view; leave out --views and --view-flip, and name the "
            "store of each view with --like."
        )
    if flip and count == 1:
        raise InputError("--view-flip flips augmented views; pass --views 2 or more with it.")
    return [{}, *({"view_number": number, "view_flip": flip} for number in range(1, count))]


def _like_options(like: str | Path, values: dict[str, Any], source: Source) -> dict[str, Any]:
    """Return the options that ``--like`` decides."""
    # It reads runs, which takes packages that other builds do without.
    from pipeline.build.plan.like import read_like, refuse_decided

    refuse_decided(str(like), values)
    if getattr(source, "classes", None) is not None:
        raise InputError(f"--like {like} decides the classes; leave out --classes.")
    root = values.get("store")
    model = read_like(like, None if root is None else Path(root))
    weights = values.get("weights") or model.find_weights()
    return {**model.options(), "weights": weights, "like": model}


def _check_names(chosen: dict[str, Any], names: list[str]) -> None:
    for name in chosen:
        if name not in names:
            hint = did_you_mean(name, names)
            raise InputError(f"build has no option {name!r}{hint}; there are {', '.join(names)}.")


def _source(cls: type[Source], all_fields: set[str], given: dict[str, Any]) -> Source:
    values = {key: given.pop(key) for key in list(given) if key in all_fields}
    values = {key: value for key, value in values.items() if value is not None}
    options = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in options:
            raise InputError(
                f"{flag_of(key)} is no flag of --source {cls.name}, which has "
                f"{', '.join(map(flag_of, options))}; leave it out, or name the source it is for."
            )
    for key, field in options.items():
        if field.default is MISSING and key not in values:
            raise InputError(f"--source {cls.name} needs {flag_of(key)}: {field.metadata['help']}")
    hints = get_type_hints(cls)
    return cls(**{key: _as_path(value, hints[key]) for key, value in values.items()})


def _as_path(value: Any, hint: Any) -> Any:
    """Return text as a path where a field holds one."""
    takes_path = hint is Path or Path in get_args(hint)
    return Path(value) if takes_path and isinstance(value, str) else value
