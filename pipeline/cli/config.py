"""``featstore config``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from pipeline.cli.config_file import flags_of
from pipeline.cli.help import PREFIX, SourceOption, as_json, command
from pipeline.cli.terminal import say, say_json

STATED_DEFAULT = re.compile(r"\[default: (.*)\]$", re.DOTALL)
DEFAULT = "default"


class Setting(NamedTuple):
    """The value of a flag, and where it comes from."""

    command: str
    flag: str
    value: Any
    origin: str


@command(
    examples=("featstore config", "featstore config build"),
    context_settings={"ignore_unknown_options": True},
)
@click.argument("name", required=False, metavar="[COMMAND]")
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
@as_json
@click.pass_context
def config(ctx: click.Context, name: str | None, flags: tuple[str, ...], as_json: bool) -> None:
    """Show the values of a command's flags, and where each comes from.

    The command line comes first, then the environment (FEATSTORE_BUILD_FPS=5), then the file
    featstore.yaml, then the default. Without COMMAND, show what is set for any command.
    """
    from featstore.errors import InputError
    from featstore.text import did_you_mean

    root = ctx.find_root()
    commands = root.command.commands  # type: ignore[attr-defined]
    if name is not None and name not in commands:
        raise InputError(
            f"{name!r} is no command{did_you_mean(name, commands)}; `featstore --help` lists them."
        )
    if name is None:
        every = [each for one in commands.values() for each in _settings(root, one, ())]
        found = [each for each in every if each.origin != DEFAULT]
    else:
        found = list(_settings(root, commands[name], flags))
    if as_json:
        say_json({"file": root.obj, "settings": [each._asdict() for each in found]})
        return
    say("There is no featstore.yaml here." if root.obj is None else f"{root.obj} is read.")
    for line in _lines(found):
        say(line)
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in _variables(commands.values()):
            say(f"{variable} is set, but it is the variable of no flag.", err=True)


def _settings(
    root: click.Context, command: click.Command, words: Sequence[str]
) -> Iterator[Setting]:
    """Yield the flags of a command that have a value."""
    name = str(command.name)
    with command.make_context(name, list(words), parent=root, resilient_parsing=True) as ctx:
        for flag, option in flags_of(command).items():
            source = ctx.get_parameter_source(str(option.name))
            value = ctx.params.get(str(option.name))
            if source in (None, ParameterSource.DEFAULT):
                value = _default(option, str(ctx.params.get("source") or ""))
                if not value or option.hidden:
                    continue
            origin = {
                ParameterSource.COMMANDLINE: "command line",
                ParameterSource.ENVIRONMENT: f"environment {option.envvar}",
                ParameterSource.DEFAULT_MAP: f"file {root.obj}",
            }.get(source, DEFAULT)  # type: ignore[arg-type]
            yield Setting(name, f"--{flag}", _plain(value), origin)


def _default(option: click.Option, source: str) -> Any:
    """Return a default, which some flags only state in their help; the code behind them has it."""
    text = option.meanings.get(source) if isinstance(option, SourceOption) else option.help
    stated = STATED_DEFAULT.search(text or "")
    if stated:
        return stated[1]
    return option.default if isinstance(option.default, str | int | float | Path) else None


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | bool | int | float | None) else str(value)


def _lines(found: Sequence[Setting]) -> Iterator[str]:
    """Yield a table, with a heading for each command."""
    widest = max((len(each.flag) for each in found), default=0)
    values = [_shown(each.value) for each in found]
    column = min(max(map(len, values), default=0), 40)
    before = ""
    for each, value in zip(found, values, strict=True):
        if each.command != before:
            yield f"featstore {each.command}"
            before = each.command
        yield f"  {each.flag:<{widest}}  {value:<{column}}  {each.origin}"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _variables(commands: Any) -> set[str]:
    every = {str(option.envvar) for one in commands for option in flags_of(one).values()}
    return every | {f"{PREFIX}CONFIG"}
