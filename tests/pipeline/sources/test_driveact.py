from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.driveact import MIDLEVEL, SUFFIXES, DriveAct

EXTRA = {
    "looking_back_left_shoulder": 17,
    "closing_backpack": 11,
    "moving_towards_door": 7,
    "standing_by_the_door": 3,
    "looking_back_right_shoulder": 1,
}
COLUMNS = "participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id"


def row(person: int, activity: str, *, annotation: int = 0, suffix: str = "kinect_ir") -> str:
    start = 100 * annotation
    file_id = f"vp{person}/run1_2018.{suffix}"
    return f"{person},{file_id},{annotation},{start},{start + 90},{activity},0"


@pytest.fixture
def small(write, tmp_path: Path):
    """Write a tiny copy; keyword arguments replace files."""

    def small(
        view: str = "kinect_ir",
        level: str = "midlevel",
        root: str = "activities_3s",
        header: str = COLUMNS,
        **files: list[str],
    ) -> Path:
        suffix = SUFFIXES[view]
        rows = {
            f"split_0.{part}": [
                row(person, "eating", suffix=suffix),
                row(person, "drinking", annotation=1, suffix=suffix),
            ]
            for part, person in (("train", 1), ("val", 2), ("test", 3))
        }
        rows["unsplit"] = [row for part in rows.values() for row in part]
        rows |= {name.replace("split_0_", "split_0."): lines for name, lines in files.items()}
        for name, lines in rows.items():
            kind = "" if name == "unsplit" else f".{name}"
            path = f"{root}/{view}/{level}.chunks_90{kind}.csv"
            write(path, "\n".join([header, *lines]) + "\n")
        return tmp_path

    return small


def test_a_clip(small) -> None:
    root = small()
    dataset = DriveAct(data=root).read()
    clip = next(clip for clip in dataset.annotations if clip.subject == "vp1")
    assert clip.clip_id == "vp1/run1_2018/0/0"
    assert clip.video == "kinect_ir/vp1/run1_2018.kinect_ir.mp4"
    assert clip.path == root / "kinect_ir/vp1/run1_2018.kinect_ir.mp4"
    assert (clip.start, clip.stop, clip.unit) == (0, 90, "frames")  # 90 is the next chunk's start
    assert (clip.label, clip.split) == ("eating", "train")
    assert dataset.classes == ("drinking", "eating")
    assert dataset.title == "driveact kinect_ir midlevel split 0"
    assert dataset.notes == ()


def test_defaults_are_the_documented_ones() -> None:
    source = DriveAct()
    assert (source.data, source.view, source.level, source.split) == (
        Path("data/driveact"),
        "kinect_ir",
        "midlevel",
        0,
    )


@pytest.mark.parametrize("view", SUFFIXES)
def test_advice_per_view(small, view: str) -> None:
    dataset = DriveAct(data=small(view), view=view).read()
    color = view == "kinect_color"
    assert (dataset.fps, dataset.min_frames) == (5, 8)
    assert dataset.video_rate == (15 if color else 30)
    assert dataset.pixels == ("rgb" if color else "luma")
    # a clip's id is the same in every view, its video is not
    assert {clip.clip_id for clip in dataset.annotations} >= {"vp1/run1_2018/0/0"}
    assert all(clip.video.endswith(f".{SUFFIXES[view]}.mp4") for clip in dataset.annotations)


def test_layout_of_the_archive(small) -> None:
    root = small(root="iccv_activities_3s/activities_3s")
    clip = DriveAct(data=root).read().annotations[0]
    assert clip.path == root / "kinect_ir/vp1/run1_2018.kinect_ir.mp4"


def test_annotations_of_another_view(small) -> None:
    root = small(split_0_val=[row(2, "eating", suffix="ids_2")])
    message = r"val.csv row 2: vp2/run1_2018.ids_2 belongs to view a_column_co_driver, not to kine"
    with pytest.raises(InputError, match=message):
        DriveAct(data=root).read()


def test_tasklevel_has_no_official_list(small) -> None:
    root = small(level="tasklevel", split_0_test=[row(3, "any task")])
    assert DriveAct(data=root, level="tasklevel").read().classes == (
        "any task",
        "drinking",
        "eating",
    )


@pytest.mark.parametrize(
    ("target", "label", "title"),
    [
        ("activity", "fetching", "driveact kinect_ir objectlevel split 0"),
        ("object", "laptop", "driveact kinect_ir objectlevel split 0 object"),
        ("location", "back seat", "driveact kinect_ir objectlevel split 0 location"),
        (
            "triplet",
            "fetching/laptop/back seat",
            "driveact kinect_ir objectlevel split 0 triplet",
        ),
    ],
)
def test_objectlevel(small, target: str, label: str, title: str) -> None:
    header = COLUMNS.replace("activity,", "activity,object,location,")
    files = {
        f"split_0_{part}": [row(person, "fetching,laptop,back seat")]
        for part, person in (("train", 1), ("val", 2), ("test", 3))
    }
    root = small(level="objectlevel", header=header, unsplit=files["split_0_train"], **files)
    dataset = DriveAct(data=root, level="objectlevel", target=target).read()
    assert (dataset.classes, dataset.title) == ((label,), title)


def test_target_belongs_to_objectlevel(small) -> None:
    with pytest.raises(InputError, match=r"--target.*--level"):
        DriveAct(data=small(), target="object").read()


def test_unofficial_label(small) -> None:
    root = small(split_0_val=[row(2, "eatin")])
    with pytest.raises(
        InputError, match=r'val.csv row 2: label "eatin" .* 39 .* nearest name is "eating"'
    ):
        DriveAct(data=root).read()


def test_labels_outside_of_the_splits_are_no_classes(small) -> None:
    root = small(unsplit=[row(1, "standing_by_the_door", annotation=5)])
    dataset = DriveAct(data=root).read()
    assert dataset.classes == ("drinking", "eating")
    assert len(dataset.annotations) == 6


def test_labels_outside_of_the_splits_on_demand(small, write, parts) -> None:
    extra = [row(person, "standing_by_the_door", annotation=5) for person in (1, 2, 3, 4)]
    root = small(unsplit=[row(1, "closing_backpack", annotation=7), *extra])
    classes = write("classes.txt", "standing_by_the_door\neating\ndrinking\n")
    dataset = DriveAct(data=root, classes=classes).read()
    assert dataset.classes == ("standing_by_the_door", "eating", "drinking")
    # closing_backpack was not asked for, and participant 4 is in no part
    assert {name: part for name, part in parts(dataset).items() if "/5/" in name} == {
        "vp1/run1_2018/5/0": "train",
        "vp2/run1_2018/5/0": "val",
        "vp3/run1_2018/5/0": "test",
    }
    assert len(dataset.annotations) == 9


def test_class_list_is_checked_both_ways(small, write) -> None:
    root = small()
    with pytest.raises(InputError, match=r'row 2: label "eating" is not in .*classes\.txt'):
        DriveAct(data=root, classes=write("classes.txt", "drinking\n")).read()
    with pytest.raises(
        InputError, match=r'classes\.txt: class "drinkin" .* nearest name is "drinking"'
    ):
        DriveAct(data=root, classes=write("classes.txt", "eating\ndrinkin\n")).read()


def test_shared_participant(small) -> None:
    root = small(split_0_test=[row(1, "eating", annotation=9), row(3, "eating")])
    with pytest.raises(InputError, match=r"vp1 \(train, test\)"):
        DriveAct(data=root).read()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0,90,", ",90,90,", "row 2: start 90 is not before end 90"),
        (",0,90,", ",-1,90,", "row 2: start -1 is negative"),
        (",0,90,", ",0,x,", 'row 2: frame_end "x" is not a number'),
        (",0,90,", ",0.5,90,", "row 2: frame_start 0.5 is not a whole number"),
    ],
)
def test_bad_frames(small, old: str, new: str, message: str) -> None:
    root = small(split_0_train=[row(1, "eating").replace(old, new)])
    with pytest.raises(InputError, match=message):
        DriveAct(data=root).read()


def test_what_is_missing_is_named(small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"activities_3s/kinect_ir.*docs/driveact\.md"):
        DriveAct(data=tmp_path).read()
    root = small()
    with pytest.raises(InputError, match=r"ceiling.*kinect_ir"):
        DriveAct(data=root, view="ceiling").read()
    with pytest.raises(InputError, match=r"split_1\.train\.csv.*exist; .*split_0\.test"):
        DriveAct(data=root, split=1).read()
    with pytest.raises(InputError, match='--view "kinect" is unknown; choose from inner_mirror'):
        DriveAct(view="kinect")


@pytest.fixture
def real(real_data) -> DriveAct:
    return DriveAct(data=real_data("driveact"), view="a_column_co_driver")


def test_real_split_0(real: DriveAct, counts) -> None:
    dataset = real.read()
    assert counts(dataset) == (6642, 1430, 2222)
    assert len(dataset.classes) == 34
    assert not set(dataset.classes) & set(EXTRA)
    assert dataset.notes == ()
    people = {
        part: {int(clip.subject[2:]) for clip in dataset.annotations if clip.split == part}
        for part in ("train", "val", "test")
    }
    assert people == {
        "train": {1, 2, 3, 4, 6, 7, 8, 9, 10, 12},
        "val": {14, 15},
        "test": {5, 11, 13},
    }


def test_real_clips_long_enough(real: DriveAct) -> None:
    dataset = real.read()
    clips = [
        clip
        for clip in dataset.annotations
        if clip.start is not None
        and clip.stop is not None
        and clip.stop - clip.start >= dataset.min_frames
    ]
    found = Counter(clip.split for clip in clips)
    assert (found["train"], found["val"], found["test"]) == (6548, 1407, 2177)
    tested = Counter(clip.label for clip in clips if clip.split == "test")
    assert tested["sitting_still"] == 704
    assert set(tested) == set(dataset.classes)


def test_real_all_classes_on_demand(real_data, write, counts) -> None:
    classes = write("classes.txt", "\n".join(MIDLEVEL))
    data = real_data("driveact")
    dataset = DriveAct(data=data, view="a_column_co_driver", classes=classes).read()
    assert len(dataset.annotations) == 6642 + 1430 + 2222 + 39
    assert dataset.classes == MIDLEVEL
    extra = [clip for clip in dataset.annotations if clip.label in EXTRA]
    assert Counter(clip.label for clip in extra) == EXTRA
    people = {clip.subject: clip.split for clip in dataset.annotations if clip.label not in EXTRA}
    assert all(clip.split == people[clip.subject] for clip in extra)


def test_real_labels_are_the_official_ones(real_data) -> None:
    path = real_data("driveact") / "activities_3s/a_column_co_driver/midlevel.chunks_90.csv"
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    assert tuple(sorted({line.split(",")[5] for line in lines})) == MIDLEVEL
