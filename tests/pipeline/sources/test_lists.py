from __future__ import annotations

from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.lists import Lists

UCF_TRAIN = "Archery/v_Archery_g08_c01.avi 2\nBiking/v_Biking_g09_c01.avi 1\n"
UCF_VAL = "Archery/v_Archery_g05_c01.avi\nBiking/v_Biking_g05_c01.avi\n"
UCF_TEST = "Archery/v_Archery_g01_c01.avi\nBiking/v_Biking_g02_c01.avi\n"


@pytest.fixture
def lists(write, tmp_path: Path):
    def lists(train: str, val: str | None, test: str, classes: str | None = None) -> Lists:
        return Lists(
            data=tmp_path,
            train_list=write("train.txt", train),
            val_list=write("val.txt", val) if val is not None else None,
            test_list=write("test.txt", test),
            classes=write("classes.txt", classes) if classes else None,
        )

    return lists


def test_ucf101(lists, tmp_path: Path) -> None:
    dataset = lists(UCF_TRAIN, UCF_VAL, UCF_TEST, "1 Biking\n2 Archery\n").read()
    assert dataset.classes == ("Biking", "Archery")
    assert dataset.subjects_known
    assert {(clip.clip_id, clip.label, clip.subject) for clip in dataset.annotations} == {
        ("Archery/v_Archery_g08_c01", "Archery", "g08"),
        ("Biking/v_Biking_g09_c01", "Biking", "g09"),
        ("Archery/v_Archery_g05_c01", "Archery", "g05"),
        ("Biking/v_Biking_g05_c01", "Biking", "g05"),
        ("Archery/v_Archery_g01_c01", "Archery", "g01"),
        ("Biking/v_Biking_g02_c01", "Biking", "g02"),
    }
    assert dataset.annotations[0].path == tmp_path / "Archery/v_Archery_g08_c01.avi"


def test_numbers_beside_names_need_a_class_list(lists) -> None:
    with pytest.raises(InputError, match=r'label 2 and .* "Archery"; pass --classes FILE'):
        lists(UCF_TRAIN, None, UCF_TEST).read()


def test_a_shared_group_is_refused(lists) -> None:
    with pytest.raises(InputError, match=r"g05 \(val, test\)"):
        lists(UCF_VAL.replace("g05", "g08"), UCF_VAL, UCF_VAL.replace("c01", "c02")).read()


@pytest.mark.parametrize(
    ("line", "video", "label"),
    [
        ("a.mp4 walk", "a.mp4", "walk"),
        ("a.mp4,walk", "a.mp4", "walk"),
        ("a.mp4;walk", "a.mp4", "walk"),
        ("a.mp4\twalk", "a.mp4", "walk"),
        ("dir/a b, c.AVI brush hair", "dir/a b, c.AVI", "brush hair"),
        ("34870;Drumming Fingers", "34870", "Drumming Fingers"),
        ("frames/34870,Drumming", "frames/34870", "Drumming"),
        ("frames/34870 Drumming", "frames/34870", "Drumming"),
        ("walk/a.mp4", "walk/a.mp4", "walk"),
        ("walk/34870", "walk/34870", "walk"),
        ("x.tsv.mp4 walk", "x.tsv.mp4", "walk"),
    ],
)
def test_lines(lists, line: str, video: str, label: str) -> None:
    dataset = lists(line, "v.mp4 other", "t.mp4 other").read()
    clip = next(clip for clip in dataset.annotations if clip.split == "train")
    assert (clip.video, clip.label) == (video, label)
    assert not dataset.subjects_known


def test_a_header_is_no_video(lists) -> None:
    dataset = lists("path,label\na.mp4,x\n", "video,label\nb.mp4,x\n", "c.mp4,x\n").read()
    assert len(dataset.annotations) == 3


def test_integers_without_a_class_list_are_the_classes(lists) -> None:
    dataset = lists("a.mp4 10\nb.mp4 9\n", "c.mp4 010\n", "d.mp4 9\n").read()
    assert dataset.classes == ("9", "10")


def test_plain_class_list_counts_from_zero(lists) -> None:
    dataset = lists("a.mp4 1\n", "b.mp4 1\n", "c.mp4 0\n", "walk\nsit\n").read()
    assert [clip.label for clip in dataset.annotations] == ["sit", "sit", "walk"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4 2", r"train\.txt row 1: label 2 is not a number of .* 0 to 1"),
        ("a.mp4 walks", r'train\.txt row 1: label "walks" .* nearest name is "walk"'),
        ("a.mp4", r'train\.txt row 1: "a.mp4" has no label'),
        ("a.mp4,", r'train\.txt row 1: "a.mp4," has no label'),
    ],
)
def test_bad_labels(lists, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lists(line, "b.mp4 1\n", "c.mp4 0\n", "walk\nsit\n").read()


def test_a_video_in_two_lists(lists) -> None:
    with pytest.raises(InputError, match=r'train.txt row 1 and .*test.txt row 2 are both clip "a"'):
        lists("a.mp4 x\n", "b.mp4 x\n", "c.mp4 x\na.mp4 x\n").read()


def test_without_val_list_val_is_taken_from_train_by_group(lists, counts) -> None:
    train = "".join(
        f"Archery/v_Archery_g{group:02}_c{clip:02}.avi\n"
        for group in range(8, 18)
        for clip in range(3)
    )
    dataset = lists(train, None, "Archery/v_Archery_g01_c01.avi\n").read()
    assert counts(dataset) == (24, 6, 1)
    val = {clip.subject for clip in dataset.annotations if clip.split == "val"}
    assert len(val) == 2
    assert "moved to val" in dataset.notes[0]


def kinetics(*rows: str) -> str:
    return "\n".join(["label,youtube_id,time_start,time_end,split", *rows])


def test_kinetics(lists, write, tmp_path: Path) -> None:
    write("brush hair/-BBBBBBBBBB_000010_000020.mp4", "")
    write("brush hair/CCCCCCCCCCC_000000_000010.txt", "")
    write("DDDDDDDDDDD_000001_000011.mp4", "")
    dataset = lists(
        kinetics("brush hair,-BBBBBBBBBB,10,20,train"),
        kinetics("brush hair,CCCCCCCCCCC,0,10,validate"),
        kinetics("brush hair,DDDDDDDDDDD,1,11,test"),
    ).read()
    assert dataset.subjects_known
    assert dataset.classes == ("brush hair",)
    train, val, test = dataset.annotations
    assert (train.subject, train.clip_id) == ("-BBBBBBBBBB", "-BBBBBBBBBB_000010_000020")
    assert train.path == tmp_path / "brush hair/-BBBBBBBBBB_000010_000020.mp4"
    assert (train.start, train.stop) == (None, None)
    assert val.video == "brush hair/CCCCCCCCCCC_000000_000010.mp4"  # missing, as the folders say
    assert test.path == tmp_path / "DDDDDDDDDDD_000001_000011.mp4"


def test_kinetics_shared_video(lists) -> None:
    with pytest.raises(InputError, match=r"AAA \(train, test\)"):
        lists(
            kinetics("x,AAA,0,10,train"), kinetics("x,BBB,0,10,val"), kinetics("x,AAA,20,30,test")
        ).read()


def test_kinetics_without_labels(lists) -> None:
    unlabelled = "youtube_id,time_start,time_end,split\nCCC,0,10,test\n"
    with pytest.raises(InputError, match=r'test\.txt has no column "label"'):
        lists(kinetics("x,AAA,0,10,train"), kinetics("x,BBB,0,10,val"), unlabelled).read()


def test_missing_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.txt.*exist"):
        Lists(
            data=tmp_path, train_list=tmp_path / "train.txt", test_list=tmp_path / "test.txt"
        ).read()


def test_lines_with_a_number_of_frames(lists) -> None:
    dataset = lists("a b.mp4 50 1\nc.mp4,50,2\n", None, "run 12 1\n").read()
    assert {(clip.video, clip.label) for clip in dataset.annotations} == {
        ("a b.mp4", "1"),
        ("c.mp4", "2"),
        ("run", "1"),
    }
    assert sum("number of frames" in note for note in dataset.notes) == 2


def test_a_folder_with_a_number_in_its_name(lists, write) -> None:
    write("run 12/1.jpg", "")
    dataset = lists("a.mp4 1\nb.mp4 2\n", None, "run 12 1\n").read()
    assert {clip.video for clip in dataset.annotations} == {"a.mp4", "b.mp4", "run 12"}


@pytest.mark.parametrize(
    ("line", "video", "label"),
    [
        ("talk.ts part.mp4 1", "talk.ts part.mp4", "1"),
        ("talk.ts of .mp4", "talk.ts", "of .mp4"),
        ("none.ts of .mp4", "none.ts", "of .mp4"),
    ],
)
def test_an_extension_inside_a_path(lists, write, line: str, video: str, label: str) -> None:
    write("talk.ts part.mp4", "")
    write("talk.ts", "")
    dataset = lists(f"{line}\nb.mp4 {label}\n", None, f"c.mp4 {label}\n").read()
    assert (dataset.annotations[0].video, dataset.annotations[0].label) == (video, label)
