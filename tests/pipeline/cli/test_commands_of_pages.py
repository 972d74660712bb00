"""Every command on every page of the documentation is one that featstore accepts."""

import re
from pathlib import Path
from typing import Any

import click
import pytest

from models.catalogue import BACKBONES
from pipeline.build.plan.request import DEFAULT_SOURCE
from pipeline.cli import main
from pipeline.cli.help import SourceOption
from pipeline.sources import sources
from pipeline.train.recipes.load import recipe_names
from pipeline.train.recipes.portfolio import AUTO, load_recipes
from tests.pages import PAGES, fences, inline, lines, words_after_featstore

# Flags of other programs that the pages name.
OTHERS = {"--nthreads"}
PROGRAMS = r"(\S+=\S+ )?(python|pip|pytest|sbatch|ssh)\b"
PLACEHOLDERS = ("NAME", "A", "B")  # of a source or a backbone


def parsed(words: list[str]) -> tuple[click.Command, dict[str, Any]]:
    """Parse the words after ``featstore``; an unknown command, flag or value is an error."""
    name, *rest = words
    command = main.commands.get(name)
    assert command is not None, f"there is no command {name!r}"
    try:
        context = command.make_context(name, rest)
    except click.exceptions.Exit:  # --help
        return command, {}
    return command, context.params


def check(words: list[str]) -> None:
    """Parse a command, and check the names that featstore itself checks only later."""
    command, values = parsed(words)
    flags = [option for option in command.params if isinstance(option, SourceOption)]
    if flags and (source := values.get("source", "NAME")) not in PLACEHOLDERS:
        source = source or DEFAULT_SOURCE
        assert source in sources(), f"there is no source {source!r}"
        wrong = [
            option.opts[0]
            for option in flags
            if values[str(option.name)] is not None and source not in option.meanings
        ]
        assert not wrong, f"--source {source} has no {', '.join(wrong)}"
    backbones = values.get("backbone") or ()
    for backbone in (backbones,) if isinstance(backbones, str) else backbones:
        assert backbone in {*BACKBONES, *PLACEHOLDERS} or backbone.startswith(("timm:", "hf:"))
    if command.name == "train" and Path(values["recipe"]).suffix != ".yaml":
        load_recipes(values["recipe"], values["overrides"])
    if command.name == "recipes" and values["name"]:
        assert values["name"] in {*recipe_names(), AUTO}


@pytest.fixture(autouse=True)
def any_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept paths that do not exist."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_blocks(page: str) -> None:
    for language, code in fences(page):
        if language not in ("", "sh"):
            continue
        variables = dict(re.findall(r"for (\w+) in (\S+)", code))
        for line in lines(code):
            if assigned := re.fullmatch(r'(\w+)="([^"]*)"', line):
                variables[assigned[1]] = assigned[2]
                continue
            for name, value in reversed(variables.items()):  # the last may hold the first
                line = line.replace(f"${name}", value)
            words = words_after_featstore(line)
            if words:
                try:
                    check([word for word in words if word != "..."])
                except (click.UsageError, AssertionError) as error:
                    pytest.fail(f"{line}\n{error}")


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences(page: str) -> None:
    """They may end with a flag that takes a value, and leave arguments out."""
    for code in inline(page):
        words = words_after_featstore(code) if code.startswith("featstore ") else None
        if words is None or words[0] == "--config":  # a flag of featstore itself
            continue
        # `[--part train|val]` is an optional flag with a choice.
        words = [word.strip("[]").split("|")[0] for word in words]
        words = ["1" if word == "N" else word for word in words]
        if words[-1].startswith("--") and words[-1] != "--help":
            name, flag = words[0], words.pop()
            assert flag in flags_of(main.commands[name]), code
        try:
            check(words)
        except click.MissingParameter:
            pass
        except (click.UsageError, AssertionError) as error:
            pytest.fail(f"{code}\n{error}")


@pytest.mark.parametrize("page", [page for page in PAGES if "benchmarks" not in page])
def test_flags_in_sentences(page: str) -> None:
    """A flag that is named without its command is one of some command."""
    flags = set().union(*(flags_of(command) for command in main.commands.values()))
    named = {
        flag
        for code in inline(page)
        if not re.match(PROGRAMS, code)
        for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", code)
    }
    assert named - flags - OTHERS - {"--help", "--config"} == set()


def flags_of(command: click.Command) -> set[str]:
    return {name for option in command.params for name in option.opts}
