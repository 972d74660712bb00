"""``featstore.yaml`` and ``featstore config``: which value counts, and where it comes from."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.cli.config_file import COMMON, FILE, LIKE_BUILD, flags_of, read_defaults
from pipeline.cli.help import PREFIX


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def values(*words: str) -> dict[str, tuple[object, str]]:
    """The value of each flag, and where it comes from."""
    found = json.loads(run("config", "--json", *words).stdout)["settings"]
    return {each["flag"]: (each["value"], each["origin"]) for each in found}


def refused(text: str, *words: str, command: Sequence[str] = ("ls",)) -> None:
    FILE.write_text(text)
    result = run(*command)
    assert result.exit_code == 2
    assert [word for word in (*words, "featstore.yaml") if word not in result.stderr] == []
    assert "Traceback" not in result.stderr


def test_each_place_gives_way_to_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert values("build")["--size"] == ("224", "default")
    FILE.write_text("build: {size: 96}")
    assert values("build")["--size"] == (96, "file featstore.yaml")
    monkeypatch.setenv("FEATSTORE_BUILD_SIZE", "64")
    assert values("build")["--size"] == (64, "environment FEATSTORE_BUILD_SIZE")
    assert values("build", "--size", "48")["--size"] == (48, "command line")


def test_the_file_counts_in_the_commands_themselves() -> None:
    FILE.write_text("stores: elsewhere\nls: {json: true}")
    assert json.loads(run("ls").stdout)["folder"] == "elsewhere"
    assert json.loads(run("ls", "--stores", "x").stdout)["folder"] == "x"
    assert "elsewhere" not in run("--config", "/dev/null", "ls").stdout


def test_the_environment_counts_in_the_commands_themselves() -> None:
    result = CliRunner(env={"FEATSTORE_LS_STORES": "elsewhere"}).invoke(main, ["ls"])
    assert "elsewhere" in result.stdout


def test_another_file_by_flag_or_environment(tmp_path: Path) -> None:
    Path("mine.yaml").write_text("build: {fps: 7}")
    for runner, words in (
        (CliRunner(), ["--config", "mine.yaml"]),
        (CliRunner(env={"FEATSTORE_CONFIG": "mine.yaml"}), []),
    ):
        result = runner.invoke(main, [*words, "config", "build"])
        assert "file mine.yaml" in result.stdout
    assert "does not exist" in run("--config", "none.yaml", "ls").stderr


def test_flags_of_build_count_for_commands_that_share_them() -> None:
    FILE.write_text("build: {source: folders, data: x, fps: 5, batch-size: 4}\nwhy: {fps: 6}")
    for name in LIKE_BUILD:
        found = values(name)
        assert found["--source"] == ("folders", "file featstore.yaml")
        assert found["--fps"][0] == ("6" if name == "why" else "5")
        assert found.get("--batch-size", (None,))[0] != 4
    assert "--fps" not in values("train")


def test_repeated_flags_take_lists_and_single_values() -> None:
    FILE.write_text("train: {set: [train.lr=1e-3, train.epochs=2], splits: '0,1', store: a}")
    found = values("train")
    assert found["--set"][0] == ["train.lr=1e-3", "train.epochs=2"]
    assert found["--splits"][0] == ["0,1"]
    assert found["--store"][0] == ["a"]


def test_all_that_is_set_without_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    FILE.write_text("device: cpu\npredict:\n")
    monkeypatch.setenv("FEATSTORE_TRAIN_SEED", "3")
    monkeypatch.setenv("FEATSTORE_TRIAN_SEED", "3")
    result = run("config")
    assert "  --seed    3    environment FEATSTORE_TRAIN_SEED" in result.stdout.splitlines()
    assert "default" not in result.stdout
    assert "FEATSTORE_TRIAN_SEED is set" in result.stderr


def test_every_flag_has_a_variable_of_its_name() -> None:
    for name, command in main.commands.items():
        for option in {id(each): each for each in flags_of(command).values()}.values():
            flag = option.opts[0].removeprefix("--")
            assert option.envvar == f"{PREFIX}{name}_{flag}".upper().replace("-", "_")


def test_common_keys_are_no_commands() -> None:
    assert not set(COMMON) & set(main.commands)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bulid: {fps: 1}", ["bulid", "did you mean 'build'"]),
        ("build: {fsp: 1}", ["fsp", "did you mean 'fps'"]),
        ("build: 3", ["section"]),
        ("- build", ["sections"]),
        ("build: {fps: [1, 2]}", ["fps", "one value"]),
        ("train: {set: {lr: 1}}", ["set", "one value"]),
        ("build: {", ["not YAML"]),
    ],
)
def test_mistakes_in_the_file(text: str, words: list[str]) -> None:
    refused(text, *words)


def test_a_wrong_value_names_the_file() -> None:
    refused("build: {fps: -1}", "--fps", "-1", command=("build",))
    assert "featstore.yaml" not in run("build", "--fps", "-2").stderr


def test_flags_of_another_source_in_the_file_are_left_out() -> None:
    FILE.write_text("build: {source: folders, data: videos, subject: 'p(1)', folds: 5, fold: 0}")
    result = run("build", "--source", "table", "--data", "none.csv")
    assert "featstore.yaml: --folds, --fold, --subject left out, because --source" in result.stderr
    assert "none.csv" in result.stderr.splitlines()[-2]
    settings = values("build", "--source", "table")
    assert settings.keys() & {"--folds", "--subject", "--data"} == set()
    assert values("build", "--source", "folders")["--folds"] == (5, "file featstore.yaml")


def test_an_error_says_that_the_file_had_a_part_in_it() -> None:
    refused("build: {source: folders, data: nowhere}", "nowhere", "config", command=("build",))


def test_unknown_command() -> None:
    result = run("config", "bulid")
    assert result.exit_code == 2
    assert "did you mean 'build'" in result.stderr


def test_python_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    FILE.write_text("build: {fsp: 1}")
    import featstore

    with pytest.raises(featstore.InputError, match="nowhere"):
        featstore.build("folders", data="nowhere")


def test_values_of_the_file_reach_click_by_the_names_of_parameters(folder: Path) -> None:
    FILE.write_text("export-model: {no-such: 1}")
    with pytest.raises(Exception, match="no-such"):
        read_defaults(FILE, main.commands)
    FILE.write_text("demo-data: {clips: 61}\ntrain: {stores: x}")
    found = read_defaults(FILE, main.commands)
    assert found == {"demo-data": {"clips": 61}, "train": {"folder": "x"}}
    assert all(isinstance(main.commands[name], click.Command) for name in found)
