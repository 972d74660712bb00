"""Flags of the command line that replace several values of ``featstore.yaml`` at once."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.core import ParameterSource

from pipeline.cli.terminal import say
from pipeline.option_values import flag_of

FROM_USER = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def leave_out(ctx: click.Context, sources_flags: Sequence[str]) -> None:
    """Set values of the file back to their defaults if they would contradict the command line.

    ``--source`` with another name than in the file replaces the flags of the file's source.
    ``--like`` decides the features, the weights and the classes.

    Parameters
    ----------
    ctx : click.Context
        With parsed parameters.
    sources_flags : sequence of str
        Names of the parameters that only some sources have.
    """
    file = ctx.default_map or {}
    if not file:
        return
    if _from_user(ctx, "source") and ctx.params["source"] != file.get("source", _default_source()):
        _reset(ctx, sources_flags, f"--source {ctx.params['source']} has its own flags")
    if _from_user(ctx, "like"):
        from pipeline.build.plan.like import DECIDED

        _reset(ctx, (*DECIDED, "weights", "classes"), "--like decides that")


def _default_source() -> str:
    from pipeline.build.plan.request import DEFAULT_SOURCE

    return DEFAULT_SOURCE


def _from_user(ctx: click.Context, name: str) -> bool:
    return name in ctx.params and ctx.get_parameter_source(name) in FROM_USER


def _reset(ctx: click.Context, names: Sequence[str], reason: str) -> None:
    """Set those parameters back that have their value from the file, and say so."""
    file = [name for name in names if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP]
    for name in file:
        ctx.params[name] = () if isinstance(ctx.params[name], tuple) else None
        ctx.set_parameter_source(name, ParameterSource.DEFAULT)
    if file:
        flags = ", ".join(map(flag_of, file))
        say(f"{ctx.find_root().obj}: {flags} left out, because {reason}.", err=True)
