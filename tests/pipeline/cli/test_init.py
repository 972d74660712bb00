"""``featstore init``: what it finds, and that a build accepts what it writes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.cli.config_file import FILE, read_defaults
from tests.annotated import PEOPLE, write_dmd, write_hens
from tests.videos import textured, write_video

HEADER = "video,start,end,label,subject\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("grey") / "a.mp4", textured(4), rate=25)


def folders(video: Path, names: list[str]) -> None:
    for name in names:
        path = Path("videos") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A box that players skip makes each file another video.
        path.write_bytes(video.read_bytes() + b"\0\0\0\x28free" + name.encode().ljust(32))


def init(*words: str) -> Result:
    return CliRunner().invoke(main, ["init", *words])


def written(*words: str) -> dict[str, Any]:
    result = init(*words)
    assert result.exit_code == 0, result.output
    return read_defaults(FILE, main.commands)["build"]


def refused(*words: str, data: str = "videos") -> None:
    result = init(data)
    assert result.exit_code == 2
    assert [word for word in words if word not in result.stderr] == []
    assert not FILE.exists()


def test_class_folders_and_persons_in_names(grey: Path) -> None:
    folders(grey, [f"{label}/person{n:02}_{label}.mp4" for label in "ab" for n in range(6)])
    found = written("videos")
    assert found == {
        "source": "folders",
        "data": "videos",
        "subject": r"person(\d+)",
        "folds": 5,
        "fold": 0,
        "pixels": "luma",
        "fps": 10,
    }
    assert "12 clips of 2 classes in 12 videos" in FILE.read_text()
    planned = CliRunner().invoke(main, ["build", "--dry-run", "--weights", "random"])
    assert planned.exit_code == 0, planned.output
    assert "6 subjects" in planned.output


def test_folders_of_parts_in_colour(grey: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), np.uint8)
    colour = write_video(tmp_path / "c.mp4", frames, rate=8)
    folders(
        colour, [f"{part}/{label}/1.mp4" for part in ("train", "val", "test") for label in "ab"]
    )
    assert written("videos") == {"source": "folders", "data": "videos"}


def test_without_known_persons_each_video_is_one(grey: Path) -> None:
    folders(grey, [f"{label}/{n}.mp4" for label in "ab" for n in range(2)])
    found = written("videos")
    assert (found["folds"], "subject" in found) == (4, False)
    assert "person" in FILE.read_text()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("0,2,x,p1\n0,2,y,p2\n0,2,x,p3", {"unit": "frames", "folds": 3, "fold": 0}),
        ("0.0,0.1,x,p1\n0,0.1,y,p2\n0,0.1,x,p3", {"unit": "seconds", "folds": 3, "fold": 0}),
    ],
)
def test_table(grey: Path, rows: str, expected: dict[str, Any]) -> None:
    folders(grey, ["a.mp4", "b.mp4", "c.mp4"])
    lines = [f"{name}.mp4,{row}" for name, row in zip("abc", rows.split("\n"), strict=True)]
    Path("videos/clips.csv").write_text(HEADER + "\n".join(lines))
    for data in ("videos", "videos/clips.csv"):  # the only table of a folder is found
        found = written(data)
        assert found.items() >= {"source": "table", "data": "videos/clips.csv", **expected}.items()
        FILE.unlink()


def test_table_with_a_split(grey: Path) -> None:
    folders(grey, ["a.mp4", "b.mp4", "c.mp4"])
    rows = [
        f"{name}.mp4,x,{part}" for name, part in zip("abc", ("train", "val", "test"), strict=True)
    ]
    Path("videos/clips.csv").write_text("video,label,split\n" + "\n".join(rows))
    assert "folds" not in written("videos")


def test_lists_of_ucf101(grey: Path) -> None:
    names = [f"{label}/v_{label}_g{n:02}_c01.avi" for label in ("Archery", "Bow") for n in range(4)]
    folders(grey, names)
    Path("videos").rename("UCF-101")
    Path("lists").mkdir()
    Path("lists/classInd.txt").write_text("1 Archery\n2 Bow\n")
    for number in ("01", "02"):
        parts = {"train": lambda n: "g00" not in n, "test": lambda n: "g00" in n}
        for part, chosen in parts.items():
            lines = [f"{n} {1 + ('Bow' in n)}" for n in names if chosen(n)]
            Path(f"lists/{part}list{number}.txt").write_text("\n".join(lines))
    assert (
        written(".").items()
        >= {
            "source": "lists",
            "data": "UCF-101",
            "train_list": "lists/trainlist01.txt",
            "test_list": "lists/testlist01.txt",
            "classes": "lists/classInd.txt",
        }.items()
    )
    assert "one of trainlist01.txt, trainlist02.txt" in FILE.read_text()


def test_lists_without_their_videos_are_not_guessed(grey: Path) -> None:
    folders(grey, [f"{label}/{n}.mp4" for label in "ab" for n in range(3)])
    for part in ("train", "test"):
        Path(f"videos/{part}.txt").write_text("a/9.mp4 a\nb/9.mp4 b\n")
    assert written("videos")["source"] == "folders"


def test_project_of_boris(tmp_path: Path) -> None:
    write_hens(tmp_path, media=".")
    for data in ("hens.boris", "."):
        assert (
            written(data).items() >= {"source": "boris", "data": "hens.boris", "folds": 5}.items()
        )
        FILE.unlink()


def test_openlabel_with_levels_and_streams(tmp_path: Path) -> None:
    for number in PEOPLE:
        write_dmd(tmp_path / "dmd", number, channel="rgb")
    assert (
        written("dmd").items()
        >= {
            "source": "openlabel",
            "data": "dmd",
            "actions": "driver_actions",
            "stream": "body_camera",
            "folds": 5,
        }.items()
    )
    assert "one of driver_actions, gaze_on_road" in FILE.read_text()


def test_nothing_is_overwritten(grey: Path) -> None:
    folders(grey, [f"{label}/{n}.mp4" for label in "ab" for n in range(3)])
    init("videos")
    FILE.write_text("# mine\n")
    result = init("videos")
    assert result.exit_code == 2
    assert "not overwritten" in result.stderr
    assert FILE.read_text() == "# mine\n"


def test_what_cannot_be_read(grey: Path) -> None:
    refused("does not exist")
    Path("videos").mkdir()
    refused("no videos, no class folders and no table")
    folders(grey, ["a.mp4", "b.mp4"])
    refused("2 videos and no labels", "video,start,end,label,subject")
    folders(grey, ["one/a.mp4"])
    Path("videos/a.mp4").unlink()
    Path("videos/b.mp4").unlink()
    refused("one folder only", "one")
    for name in "ab":
        Path(f"videos/{name}.csv").write_text(HEADER + "a.mp4,0,1,x,p")
    refused("several tables", "a.csv, b.csv")
    Path("videos/a.csv").write_text("file,label\n")
    refused("video", data="videos/a.csv")
