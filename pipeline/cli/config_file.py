"""``featstore.yaml``: defaults for the flags of commands, which click looks up in a default map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from featstore.errors import InputError
from featstore.text import did_you_mean

FILE = Path("featstore.yaml")
# Keys outside of sections: flags that mean the same in every command that has them.
COMMON = ("stores", "device")
BUILD = "build"
# Commands that take the flags of `build`; the first has no others.
LIKE_BUILD = ("stats", "why", "finetune")


def flags_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by the names of their flags, without dashes."""
    return {
        flag.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option)
        for flag in option.opts
        if flag.startswith("--")
    }


def read_defaults(path: Path, commands: Mapping[str, click.Command]) -> dict[str, dict[str, Any]]:
    """Return the default map of click that a file holds.

    Parameters
    ----------
    path : Path
    commands : mapping
        Every command by its name.

    Returns
    -------
    dict
        For each command: values by the names of its parameters.

    Raises
    ------
    InputError
        If the file cannot be read, has an unknown section or key, or holds a list or mapping where
        a flag takes one value.
    """
    from pipeline.yaml_text import read_yaml

    try:
        content = read_yaml(path) or {}
    except FileNotFoundError:
        raise InputError(f"--config is {path}, which does not exist.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must have sections, such as `build:`, with flags below them.")
    sections = {_text(key): value for key, value in content.items()}
    names = (*commands, *COMMON)
    for key in sections:
        if key not in names:
            raise InputError(
                f"{path}: {key!r} is no command{did_you_mean(key, names)}; sections are the names "
                f"of commands, and {' and '.join(COMMON)} may stand outside of them."
            )
    return {
        name: values
        for name, command in commands.items()
        if (values := _section(path, name, command, sections, commands))
    }


def _section(
    path: Path,
    name: str,
    command: click.Command,
    sections: Mapping[str, Any],
    commands: Mapping[str, click.Command],
) -> dict[str, Any]:
    """Return the values of a command: common ones, those shared with `build`, its own."""
    flags = flags_of(command)
    values = {
        flags[key].name: _value(path, key, flags[key], sections[key])
        for key in COMMON
        if key in sections and key in flags
    }
    if name in LIKE_BUILD:
        shared = flags_of(commands[LIKE_BUILD[0]])
        build = _own(path, BUILD, commands[BUILD], sections)
        values |= {option.name: build[option.name] for option in shared.values()
                   if option.name in build}  # fmt: skip
    return {
        str(key): value for key, value in (values | _own(path, name, command, sections)).items()
    }


def _own(
    path: Path, name: str, command: click.Command, sections: Mapping[str, Any]
) -> dict[str | None, Any]:
    """Return the values of a command's own section."""
    section = sections.get(name) or {}
    if not isinstance(section, dict):
        raise InputError(f"{path}: {name} is {section!r}; it must be a section of flags.")
    flags = flags_of(command)
    values: dict[str | None, Any] = {}
    for key, value in section.items():
        flag = _text(key)
        if flag not in flags:
            raise InputError(
                f"{path}: {key!r} is no flag of `featstore {name}`{did_you_mean(flag, flags)}; "
                f"`featstore {name} --help` lists them."
            )
        if value is not None:
            values[flags[flag].name] = _value(path, flag, flags[flag], value)
    return values


def _value(path: Path, key: str, option: click.Option, value: Any) -> Any:
    """Return a value as click takes it; a flag that may be repeated takes a list."""
    several = value if isinstance(value, list) else [value]
    if any(isinstance(each, list | dict) for each in several) or (
        isinstance(value, list) and not option.multiple
    ):
        raise InputError(f"{path}: {key} is {value!r}; the flag takes one value.")
    return several if option.multiple else value


def _text(key: Any) -> str:
    return str(key).replace("_", "-")
