"""Subjects from the names of videos."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from featstore.errors import InputError
from pipeline.cli import main
from pipeline.sources.folders import Folders
from pipeline.sources.lists import Lists
from pipeline.sources.table import Table
from tests.videos import textured, write_video

KTH = r"person(\d+)_"
ROWS = [
    (f"{label}/person{person}_{label}_d{take}.avi", label, person)
    for label in ("boxing", "jogging")
    for person in ("01", "02", "03")
    for take in (1, 2)
]


@pytest.fixture
def kth(write, tmp_path: Path) -> Path:
    for video, _, _ in ROWS:
        write(f"kth/{video}", "")
    return tmp_path / "kth"


def test_folders_are_split_like_a_table_with_these_subjects(write, kth: Path) -> None:
    lines = [f"{video},{label},{person}" for video, label, person in ROWS]
    table = write("kth/t.csv", "\n".join(["video,label,subject", *lines]))
    expected = Table(data=table, folds=3, fold=1).read()
    table.unlink()
    dataset = Folders(data=kth, folds=3, fold=1, subject=KTH).read()
    assert dataset.subjects_known
    assert expected.subjects_known
    assert {(c.video, c.subject, c.split) for c in dataset.annotations} == {
        (c.video, c.subject, c.split) for c in expected.annotations
    }
    assert dataset.notes[0] == (
        "--subject finds 3 subjects in 12 videos (videos of each): 01 (4), 02 (4), 03 (4)."
    )


def test_lists_and_shared_subjects(write, kth: Path) -> None:
    def lists(videos_of_test: list[str]) -> Lists:
        train = [video for video, _, _ in ROWS if video not in videos_of_test]
        return Lists(
            data=kth,
            train_list=write("train.txt", "\n".join(train)),
            test_list=write("test.txt", "\n".join(videos_of_test)),
            subject=KTH,
        )

    third = [video for video, _, person in ROWS if person == "03"]
    dataset = lists(third).read()
    assert {c.subject for c in dataset.annotations if c.split == "test"} == {"03"}
    assert sorted({(c.split, c.subject) for c in dataset.annotations}) == [
        ("test", "03"),
        ("train", "02"),
        ("val", "01"),
    ]
    assert dataset.notes[0].startswith("--subject finds 3 subjects in 12 videos")
    with pytest.raises(InputError, match=r": 03 \(train, test\)"):
        lists(third[1:]).read()


def test_a_subject_replaces_the_group_of_ucf101(write, tmp_path: Path) -> None:
    for group in ("g01", "g02", "g03"):
        write(f"u/Archery/v_Archery_{group}_c01.avi", "")
    dataset = Folders(data=tmp_path / "u", folds=3, fold=0, subject=r"_g0(\d)_").read()
    assert {clip.subject for clip in dataset.annotations} == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("person(", r"--subject 'person\(' is not a regular expression \(.*\); correct it$"),
        (r"person\d+", r"has 0 groups; write one, around the subject"),
        (r"(person)(\d+)", "has 2 groups; write one"),
        (
            r"actor(\d+)",
            r"'actor\(\\d\+\)' matches no video, such as boxing/person01_boxing_d1\.avi.* 9 more",
        ),
        (r"person(0[12])", r"finds no subject in 4 of 12 videos: boxing/person03_boxing_d1\.avi"),
        (r"person(\d*?)", "matches no video"),
    ],
)
def test_patterns_that_name_no_subjects_are_refused(kth: Path, pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Folders(data=kth, folds=3, fold=0, subject=pattern).read()


def test_a_dry_run_shows_the_subjects_and_builds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (video, _, _) in enumerate(ROWS):
        path = tmp_path / "kth" / video
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, textured(4, seed=number))
    flags = ["--source", "folders", "--data", "kth", "--folds", "3", "--fold", "0"]
    flags += ["--subject", KTH, "--backbone", "squeezenet1_1", "--weights", "random", "--dry-run"]
    result = CliRunner().invoke(main, ["build", *flags])
    assert result.exit_code == 0, result.output
    assert "videos of each): 01 (4), 02 (4), 03 (4)." in result.output
    assert "subjects: 01\n" in result.output
    assert "Subjects are unknown" not in result.output
    assert not list(tmp_path.glob("features/*.zarr*"))
