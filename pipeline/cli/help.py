"""Help pages: options under headings, the flags of one source, examples. Also renamed flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource

from pipeline.cli.precedence import leave_out
from pipeline.cli.terminal import say

SOURCE = "--source"
PREFIX = "FEATSTORE_"  # of environment variables
OTHER = "Other options"
READ = "What to read"
PIXELS = "Pixels"
BACKBONE = "Backbone"
WRITE = "Where to write"
RUN = "How to run"

Function = TypeVar("Function", bound=Callable[..., Any])


class Decorator(Protocol):
    """What adds an option to a command."""

    def __call__(self, function: Function, /) -> Function:
        """Add it."""


class Option(click.Option):
    """An option that the help shows under a heading."""

    def __init__(self, *args: Any, heading: str = OTHER, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.heading = heading
        if isinstance(self.type, click.IntRange) and self.metavar is None:
            self.metavar = "INTEGER"  # and not INTEGER RANGE

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what stands in brackets, without a range: a value beyond it says so."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class SourceOption(Option):
    """A flag of some sources, which the help shows only for one that has it.

    Parameters
    ----------
    meanings : mapping
        What it means to each source that has it.
    """

    def __init__(self, *args: Any, meanings: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(*args, heading=READ, **attributes)
        self.meanings = meanings

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the flag and its meaning to the source on the command line."""
        meaning = self.meanings.get(ctx.meta.get(SOURCE, ""))
        record = super().get_help_record(ctx)
        return (record[0], meaning) if record and meaning else None


class Command(click.Command):
    """A command whose help has headings and examples.

    Parameters
    ----------
    examples : sequence of str
        Command lines, shown as they are.
    renamed : mapping
        Former names of flags, which still work and cost a sentence, and what they are called now.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        renamed: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples
        self.renamed = renamed or {}
        for option in self.params:
            if isinstance(option, click.Option):
                option.envvar = variable_of(str(self.name), option.opts[0])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line under the present names of flags."""
        ctx.meta[SOURCE] = _value_of(SOURCE, args)
        try:
            rest = super().parse_args(ctx, [self._present_name(arg) for arg in args])
        except click.BadParameter as error:
            source = ctx.get_parameter_source(error.param.name or "") if error.param else None
            if source is not ParameterSource.DEFAULT_MAP:
                raise
            message = f"{error.message} The value is in {ctx.find_root().obj}."
            raise click.BadParameter(message, ctx, error.param) from None
        leave_out(ctx, [str(o.name) for o in self.params if isinstance(o, SourceOption)])
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order in which they are declared."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                heading = getattr(parameter, "heading", OTHER)
                sections.setdefault(heading, []).append(record)
        others = sections.pop(OTHER, [])
        for heading, records in (*sections.items(), (OTHER, others)):
            with formatter.section(heading):
                formatter.write_dl(records)
            if heading == READ:
                self._format_sources(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")

    def _format_sources(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List which source has which flags, unless the page shows those of one source."""
        flags: dict[str, list[str]] = {}
        for option in self.params:
            if isinstance(option, SourceOption) and not option.hidden:
                for name in option.meanings:
                    flags.setdefault(name, []).append(option.opts[0])
        if flags and ctx.meta.get(SOURCE) not in flags:
            with formatter.section(f"Flags of each source ({SOURCE} NAME --help explains them)"):
                formatter.write_dl([(name, " ".join(flags[name])) for name in sorted(flags)])

    def _present_name(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        if name not in self.renamed:
            return argument
        say(f"{name} is now called {self.renamed[name]}; the old name still works.", err=True)
        return f"{self.renamed[name]}{equals}{value}"


def variable_of(command: str, flag: str) -> str:
    """Return the environment variable that gives a flag its value.

    Examples
    --------
    >>> variable_of("demo-data", "--clips")
    'FEATSTORE_DEMO_DATA_CLIPS'
    """
    return f"{PREFIX}{command}_{flag.removeprefix('--')}".upper().replace("-", "_")


def _value_of(flag: str, args: Sequence[str]) -> str:
    """Return the last value of a flag on a command line that is not parsed yet.

    Examples
    --------
    >>> _value_of("--source", ["--source", "table", "--help"])
    'table'
    >>> _value_of("--source", [])
    ''
    """
    value = ""
    for argument, following in zip_longest(args, args[1:], fillvalue=""):
        name, equals, text = argument.partition("=")
        if name == flag:
            value = text if equals else following
    return value


def heading(title: str) -> Callable[..., Decorator]:
    """Return `click.option` for the options under one heading of the help."""
    return partial(click.option, cls=Option, heading=title)


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Return `click.command` for a command with headings and examples."""
    return click.command(name, cls=Command, **attributes)


def hide(decorator: Decorator) -> Decorator:
    """Leave the options that a decorator adds out of the help."""

    def apply(function: Function, /) -> Function:
        before = list(getattr(function, "__click_params__", []))
        function = decorator(function)
        for option in function.__click_params__:  # type: ignore[attr-defined]
            option.hidden = option.hidden or option not in before
        return function

    return apply


as_json: Decorator = click.option(
    "--json", "as_json", is_flag=True, cls=Option, help="Print one JSON document, for programs."
)
