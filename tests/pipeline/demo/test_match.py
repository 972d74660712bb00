"""Videos drawn to match annotation files: layout, lengths, going on, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from featstore.errors import InputError
from pipeline.build.plan.options import BuildOptions
from pipeline.cli import main
from pipeline.demo import draw_matching, film
from pipeline.demo import weights as weights_module
from pipeline.demo.activities import ACTIVITIES
from pipeline.demo.match import TAIL, plan_matching
from pipeline.sources.driveact import COLUMNS, DriveAct
from pipeline.sources.rows import read_table
from tests.builds import plan_of, silent

RUNS = {p: f"vp{p}/run1b_2018-05-29-14-02-{p:02d}" for p in (1, 5, 14)}
PART = {1: "train", 5: "test", 14: "val"}
LAST = {1: 70, 5: 40, 14: 52}  # last annotated frame of any level
Line = tuple[int, str, int, int, int, str, int]


def lines(participant: int, suffix: str = "ids_2") -> list[Line]:
    """Midlevel rows: an annotation of two chunks, and one of an activity that is not drawn."""
    file_id, end = f"{RUNS[participant]}.{suffix}", LAST[participant]
    return [
        (participant, file_id, 0, 3, 13, "drinking", 0),
        (participant, file_id, 0, 13, 20, "drinking", 1),
        (participant, file_id, 1, 22, min(end, 60), "writing", 0),
    ]


def write(path: Path, rows: list[Line], columns: tuple[str, ...] = COLUMNS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture(scope="session")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official") / "activities_3s" / "a_column_co_driver"
    unsplit = (1, f"{RUNS[1]}.ids_2", 2, 61, 66, "standing_by_the_door", 0)
    write(folder / "midlevel.chunks_90.csv", [r for p in RUNS for r in lines(p)] + [unsplit])
    for p, part in PART.items():
        write(folder / f"midlevel.chunks_90.split_0.{part}.csv", lines(p))
    drive = (1, f"{RUNS[1]}.ids_2", 0, 0, LAST[1], "eat_drink", 0)
    write(folder / "tasklevel.chunks_90.csv", [drive])
    return folder


@pytest.fixture(scope="session")
def drawn(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("matching") / "data"
    draw_matching(directory, annotations, workers=2, log=silent)
    return directory


@pytest.fixture
def copied(annotations: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(annotations, tmp_path / "copied"))


def video(directory: Path, participant: int) -> Path:
    return directory / "kinect_ir" / f"{RUNS[participant]}.kinect_ir.mp4"


def digests(directory: Path) -> dict[str, str]:
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_videos_reach_a_bit_beyond_the_last_frame_of_any_level(drawn: Path) -> None:
    found = {p for p in (drawn / "kinect_ir").rglob("*") if p.is_file()}
    assert found == {video(drawn, p) for p in RUNS}
    for participant, last in LAST.items():
        with av.open(video(drawn, participant)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (128, 106, 30)
            assert sum(1 for _ in container.decode(stream)) == last + TAIL


def test_annotations_are_the_same_but_for_the_view(annotations: Path, drawn: Path) -> None:
    folder = drawn / "activities_3s" / "kinect_ir"
    assert {p.name for p in folder.iterdir()} == {p.name for p in annotations.iterdir()}
    for path in folder.iterdir():
        with path.open(newline="") as ours, (annotations / path.name).open(newline="") as theirs:
            expected = [
                [cell.replace(".ids_2", ".kinect_ir") for cell in row] for row in csv.reader(theirs)
            ]
            assert list(csv.reader(ours)) == expected


def test_a_build_takes_every_clip_at_its_frames(drawn: Path, tmp_path: Path) -> None:
    options = BuildOptions(
        source=DriveAct(data=drawn), weights="random", size=64, fps=Fraction(5), store=tmp_path
    )
    plan = plan_of(options)
    found = {(c.clip_id, c.start, c.stop, c.label, c.split) for c in plan.clips}
    assert found == {
        (f"{RUNS[p]}/{number}/{chunk}", start, stop, label, PART[p])
        for p in RUNS
        for _, _, number, start, stop, label, chunk in lines(p)
        if stop - start >= 8
    }
    assert len(plan.dropped) == 3  # the second chunks, of seven frames


@pytest.mark.parametrize("left", [None, b"half a video"])
def test_drawing_again_draws_only_what_is_missing(
    annotations: Path, drawn: Path, tmp_path: Path, left: bytes | None
) -> None:
    again = Path(shutil.copytree(drawn, tmp_path / "again"))
    gone = video(again, 5)
    gone.unlink()
    if left:
        gone.with_name(f".{gone.name}").write_bytes(left)
    kept = {p: p.stat().st_mtime_ns for p in (again / "kinect_ir").rglob("*.mp4")}
    said: list[str] = []
    draw_matching(again, annotations, workers=1, log=said.append)
    assert said[0] == "2 of 3 videos are there already"
    assert digests(again) == digests(drawn)
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items() if not p.name.startswith("."))


def test_an_interrupted_run_is_gone_on_with(
    annotations: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, written = film.write_video, []

    def second_fails(path: Path, frames: object) -> None:
        written.append(path)
        if len(written) == 2:
            path.write_bytes(b"half a video")
            raise KeyboardInterrupt
        plain(path, frames)  # type: ignore[arg-type]

    monkeypatch.setattr(film, "write_video", second_fails)
    target = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        draw_matching(target, annotations, workers=1, log=silent)
    assert [video(target, p).exists() for p in (1, 5, 14)] == [True, False, False]
    draw_matching(target, annotations, workers=1, log=silent)
    assert len(written) == 4
    assert digests(target) == digests(drawn)


@pytest.mark.parametrize("change", ["seed", "annotations"])
def test_what_was_drawn_from_something_else_is_left_alone(
    copied: Path, drawn: Path, change: str
) -> None:
    before = digests(drawn)
    if change == "annotations":
        write(copied / "midlevel.chunks_90.csv", lines(1))
    with pytest.raises(InputError, match="other annotations or with another seed"):
        draw_matching(drawn, copied, seed=int(change == "seed"), log=silent)
    assert digests(drawn) == before


def plan(folder: Path, rows: list[Line]) -> list[film.Video]:
    write(folder / "midlevel.chunks_90.csv", rows)
    return plan_matching({p.name: read_table(p, COLUMNS) for p in folder.iterdir()}, seed=0)


def test_the_label_decides_what_is_acted(tmp_path: Path) -> None:
    first, second = plan(tmp_path, lines(1) + lines(5))
    (start, drinking), (_, writing) = first.takes
    assert (start, drinking.activity, drinking.frames) == (3, "drinking", 17)  # both chunks
    (_, other), (_, same) = second.takes
    assert (other.activity, other.frames) == ("drinking", 17)
    assert other.seed != drinking.seed  # nobody drinks twice alike
    assert writing.activity in ACTIVITIES
    assert (writing.activity, writing.seed) == (same.activity, same.seed)


def test_annotations_that_overlap_are_acted_one_after_the_other(tmp_path: Path) -> None:
    file_id = f"{RUNS[1]}.ids_2"
    rows = [
        (1, file_id, 7, 10, 30, "eating", 0),
        (1, file_id, 8, 20, 40, "drinking", 0),
        (1, file_id, 9, 22, 39, "writing", 0),  # nobody sees it
    ]
    (video,) = plan(tmp_path, rows)
    assert [(at, t.activity, t.frames) for at, t in video.takes] == [
        (10, "eating", 20),
        (30, "drinking", 10),
    ]
    assert video.frames == 40 + TAIL


def test_real_annotations_become_as_many_videos_at_full_length() -> None:
    root = os.environ.get("FEATSTORE_TEST_DATA")
    folder = Path(root or "") / "driveact" / "activities_3s" / "a_column_co_driver"
    if not root or not folder.is_dir():
        pytest.skip("FEATSTORE_TEST_DATA names no folder with driveact/")
    tables = {p.name: read_table(p, COLUMNS) for p in folder.glob("*.csv")}
    videos = plan_matching(tables, seed=0)
    assert len(videos) == 29
    assert sum(v.frames - TAIL for v in videos) == 1_218_964
    takes = [take for v in videos for _, take in v.takes]
    assert (len(takes), sum(take.frames for take in takes)) == (3_303, 778_777)


def nothing(folder: Path) -> None:
    shutil.rmtree(folder)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def no_tables(folder: Path) -> None:
    for path in folder.iterdir():
        path.rename(folder / f"other-{path.name}")


def data_set(folder: Path) -> None:
    inner = folder / "activities_3s" / "ceiling"
    inner.mkdir(parents=True)
    for path in folder.glob("*.csv"):
        path.rename(inner / path.name)


def replaced(**cells: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = dict(zip(COLUMNS, lines(1)[0], strict=True)) | cells
        write(folder / "midlevel.chunks_90.csv", [*lines(1), tuple(values.values())])  # type: ignore[list-item]

    return change


def other_columns(folder: Path) -> None:
    write(folder / "midlevel.chunks_90.csv", [], ("video", "label"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nothing, "is not a folder; name the folder"),
        (a_file, "is not a folder; name the folder"),
        (no_tables, r"has no midlevel.chunks_90\*.csv of Drive&Act; name the folder of one view"),
        (data_set, r"did you mean .*activities_3s/ceiling\?"),
        (other_columns, 'has no column "participant_id"'),
        (replaced(frame_start=9, frame_end=9), r"row 5: frames 9 to 9 \(exclusive\)"),
        (replaced(frame_start=-1), r"row 5: frames -1 to 13 \(exclusive\) are no interval"),
        (replaced(participant_id=16), "row 5: participant 16 is none of"),
        (replaced(activity="swimming"), 'row 5: label "swimming" is not in'),
        (replaced(file_id="../x.ids_2"), 'row 5: file_id "../x.ids_2" is not of Drive&Act'),
        (replaced(file_id="vp1/run1.avi"), 'row 5: file_id "vp1/run1.avi" is not of Drive&Act'),
        (replaced(file_id="vp1/run1.ids_3"), "row 5: vp1/run1.ids_3 belongs to another view"),
    ],
)
def test_what_is_no_annotation_is_refused_before_anything_is_written(
    copied: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    change(copied)
    with pytest.raises(InputError, match=message):
        draw_matching(tmp_path / "data", copied, log=silent)
    assert not (tmp_path / "data").exists()


def test_a_folder_that_holds_something_else_is_left_alone(
    annotations: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        draw_matching(tmp_path, annotations, log=silent)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_command_draws_and_goes_on(
    annotations: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_module, "is_installed", lambda backbone: False)
    command = ["demo-data", str(tmp_path / "data"), "--annotations", str(annotations)]
    result = CliRunner().invoke(main, [*command, "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "drawing 3 videos, 192 frames, with 1 process(es)" in result.output
    assert digests(tmp_path / "data") == digests(drawn)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("3 of 3 videos are there already")
    result = CliRunner().invoke(main, [*command, "--clips", "60"])
    assert result.exit_code == 2
    assert "--clips and --annotations exclude each other" in result.output
