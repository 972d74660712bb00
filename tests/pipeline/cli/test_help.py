"""``--help``: headings, the flags of one source, examples, and former names of flags."""

import re
import subprocess
import sys
from collections import Counter

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.build.plan.options import BuildOptions
from pipeline.cli import SECTIONS, main
from pipeline.cli.help import OTHER, Command, SourceOption
from pipeline.sources import sources

NAMES = sorted(main.commands)


def help_of(*words: str) -> str:
    result: Result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, result.output
    return result.stdout


def flags_in(text: str) -> set[str]:
    """The flags that have a line of their own."""
    return set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", text, re.MULTILINE))


def headings(text: str) -> list[str]:
    return re.findall(r"^(\w.*):$", text, re.MULTILINE)


def command_named(name: str) -> Command:
    command = main.commands[name]
    assert isinstance(command, Command)
    return command


def test_every_command_is_listed_in_one_section() -> None:
    listed = Counter(command.name for members in SECTIONS.values() for command in members)
    assert listed == Counter(NAMES)
    assert set(headings(help_of())) >= set(SECTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_page(name: str) -> None:
    text = help_of(name)
    assert headings(text)[-2:] == [OTHER, "Examples"]
    command = command_named(name)
    with_help = {
        option.opts[0]
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
        and not isinstance(option, SourceOption)
    }  # fmt: skip
    assert with_help <= flags_in(text) | {"-h"}
    meanings = [str(o.help) for o in command.params if o.opts[0] in with_help]  # type: ignore[attr-defined]
    assert [each for each in meanings if each.startswith(("None", "[default"))] == []
    assert all(
        getattr(option, "heading", "") for option in command.params if option.opts[0] in with_help
    )


@pytest.mark.parametrize("name", NAMES)
def test_examples_use_flags_that_exist(name: str) -> None:
    command = command_named(name)
    assert command.examples
    for line in command.examples:
        words = line[line.index("featstore ") :].split()[1:]
        shown = command_named(words[0])
        known = {"--help", *(flag for option in shown.params for flag in option.opts)}
        assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("name", ["build", "why", "stats", "finetune"])
def test_only_flags_of_the_source_that_is_named(name: str) -> None:
    flags = {
        o.opts[0]: o.meanings for o in main.commands[name].params if isinstance(o, SourceOption)
    }
    assert set().union(*flags.values()) == set(sources())
    assert not flags_in(help_of(name)) & set(flags)
    for source in sources():
        expected = {flag for flag, meanings in flags.items() if source in meanings}
        for words in ([f"--source={source}"], ["--source", source]):
            text = help_of(name, *words)
            assert flags_in(text) & set(flags) == expected
            assert "[required]" in text or source == "driveact"


def test_sources_and_their_flags_are_listed_without_one() -> None:
    lines = [line.split() for line in help_of("build").splitlines()]
    for source in sources():
        (line,) = (line for line in lines if line and line[0] == source)
        assert "--data" in line
    assert help_of("build", "--source", "tabel") == help_of("build")


def test_train_takes_flags_of_build_that_its_help_leaves_out() -> None:
    flags = flags_in(help_of("train"))
    assert len(flags) < 17
    accepted = {flag for option in main.commands["train"].params for flag in option.opts}
    assert {"--backbone", "--data", "--fps", "--split-file"} <= accepted - flags
    assert "featstore build" in help_of("train")


@pytest.mark.parametrize("field", ["size", "fit", "backbone", "hop", "max_pixels", "compression"])
def test_defaults_are_those_of_the_code(field: str) -> None:
    text = " ".join(help_of("build").split())
    default = getattr(BuildOptions, field)
    assert re.search(rf"--{field.replace('_', '-')} (?:(?!--).)*\[default: {default}\]", text)


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        "main(['build', '--help'], standalone_mode=False)\n"
        "print(sorted({'torch', 'zarr', 'av', 'pydantic'} & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (["ls", "--store", "nowhere"], "--store", "--stores"),
        (["gc", "--store=nowhere"], "--store", "--stores"),
        (["info", "x", "--root", "nowhere"], "--root", "--stores"),
    ],
)
def test_former_names_work_and_cost_a_sentence(words: list[str], old: str, new: str) -> None:
    former = CliRunner().invoke(main, words)
    present = CliRunner().invoke(main, [word.replace(old, new) for word in words])
    note, *rest = former.stderr.splitlines(keepends=True)
    assert note.startswith(f"{old} is now called {new}")
    assert (former.exit_code, former.stdout, "".join(rest)) == (
        present.exit_code,
        present.stdout,
        present.stderr,
    )


def test_command_without_arguments(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["ls"])
    assert (result.exit_code, result.stderr) == (0, "")
