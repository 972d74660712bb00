from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from tests.builds import ROWS, row, write_dataset
from tests.videos import GOP_8, textured, write_table, write_video

FLAGS = ["--source", "table", "--backbone", "squeezenet1_1", "--weights", "random"]
FLAGS += ["--pixels", "luma", "--size", "32", "--device", "cpu", "--batch-size", "8"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_dataset(tmp_path / "data")


def run(command: str, *more: str) -> Result:
    given = [*FLAGS, "--data", "data/clips.csv"] if not more or more[0].startswith("-") else []
    return CliRunner().invoke(main, [command, *given, *more])


def lines(command: str, *more: str) -> list[str]:
    result = run(command, *more)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def built(*more: str) -> Path:
    return Path(lines("build", *more)[-1].split(" ")[0])


def test_nothing_to_compare_with(data: Path) -> None:
    assert lines("why") == [
        "mean and std of these clips are not measured yet, so no row can be copied",
        "computed: 5 clips (66 steps)",
    ]


def test_what_is_there_costs_nothing(data: Path) -> None:
    path = built()
    assert lines("why") == [f"{path} has exactly this: nothing would be computed"]
    hdf5 = built("--format", "hdf5")
    assert lines("why")[0].split(" ")[0] in (str(path), str(hdf5))


def test_a_label_and_more_videos(data: Path) -> None:
    path = built("--normalise", "0.4,0.2")
    write_video(data.parent / "more.mp4", textured(9, seed=8), options=GOP_8)
    write_table(data, [{**ROWS[0], "label": "b"}, *ROWS[1:], row("more.mp4", 2, 9, "train")])
    assert lines("why", "--normalise", "0.4,0.2") == [
        f"unlike {path.name}:",
        "  clips added: 1 (more#2-9)",
        "  label: 1 clips, such as train#0-10: a -> b",
        f"copied: 5 clips (66 steps) from {path.name}",
        "computed: 1 clips (7 steps)",
    ]
    again = built("--normalise", "0.4,0.2")
    between = lines("why", str(path), str(again))
    assert between[-1] == "same features: 5 of 6 clips (66 of 73 steps)"
    assert between[0] == "clips added: 1 (more#2-9)"


def test_another_configuration_and_a_store_that_is_named(data: Path) -> None:
    path = built("--normalise", "0.4,0.2")
    other = built("--normalise", "0.4,0.2", "--size", "40")
    assert lines("why", "--normalise", "0.4,0.2", "--size", "48")[1:] in (
        ["  size: 32 -> 48", "computed: 5 clips (66 steps)"],
        ["  size: 40 -> 48", "computed: 5 clips (66 steps)"],
    )
    result = CliRunner().invoke(
        main,
        ["why", *FLAGS, "--data", "data/clips.csv", "--normalise", "0.4,0.2", str(other)],
    )
    assert result.stdout.splitlines()[:2] == [f"unlike {other.name}:", "  size: 40 -> 32"]
    assert path.exists()


def test_mistakes_are_sentences(data: Path) -> None:
    path = str(built())
    assert run("why", path, path, path).exit_code == 2
    result = run("why", "nonesuch", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "Error: No store in features has the path, name or key 'nonesuch'"
    )
