from __future__ import annotations

from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.table import Table

TABLE = """video,start,end,label,subject,split
a.mp4,0,10,walk,ann,train
a.mp4,10,20,sit,ann,train
b.mp4,0,10,walk,bob,val
b.mp4,10,20,sit,bob,val
sub/c.mp4,0,10,walk,cid,test
sub/c.mp4,10,20,sit,cid,test
"""
UNSPLIT = "\n".join(line.rpartition(",")[0] for line in TABLE.splitlines())
SPLITS = "subject,split_0,split_1\nann,train,test\nbob,val,train\ncid,test,val\n"


def changed(old: str, new: str) -> str:
    assert old in TABLE
    return TABLE.replace(old, new)


def test_split_by_column(write, counts) -> None:
    path = write("clips.csv", TABLE)
    dataset = Table(data=path).read()
    assert counts(dataset) == (2, 2, 2)
    assert (dataset.classes, dataset.notes) == (("sit", "walk"), ())
    assert (dataset.subjects_known, dataset.fps, dataset.pixels) == (True, None, "rgb")
    clip = dataset.annotations[-1]
    assert (clip.clip_id, clip.video) == ("sub/c#10-20", "sub/c.mp4")
    assert clip.path == path.parent / "sub/c.mp4"
    assert (clip.start, clip.stop, clip.unit, clip.subject) == (10, 20, "frames", "cid")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, {"ann": "train", "bob": "val", "cid": "test"}),
        (1, {"ann": "test", "bob": "train", "cid": "val"}),
    ],
)
def test_split_by_second_file(write, number: int, expected: dict[str, str]) -> None:
    table = Table(
        data=write("clips.csv", UNSPLIT), split_file=write("splits.csv", SPLITS), split=number
    )
    dataset = table.read()
    assert {clip.subject: clip.split for clip in dataset.annotations} == expected
    assert dataset.title.endswith(f" clips split {number}")


def test_second_file_with_one_split_replaces_the_column(write) -> None:
    splits = write("splits.csv", "subject,split\nann,test\nbob,train\ncid,val\n")
    dataset = Table(data=write("clips.csv", TABLE), split_file=splits).read()
    assert {clip.subject: clip.split for clip in dataset.annotations}["ann"] == "test"
    assert dataset.notes == ("--split-file replaces the column split of clips.csv.",)


def test_split_by_folds(write) -> None:
    dataset = Table(data=write("clips.csv", TABLE), folds=3, fold=1).read()
    assert {clip.subject: clip.split for clip in dataset.annotations} == {
        "ann": "train",
        "bob": "test",
        "cid": "val",
    }
    assert dataset.notes == ("--folds replaces the column split of clips.csv.",)


def test_folds_list_the_classes_missing_from_train(write) -> None:
    text = UNSPLIT.replace("b.mp4,10,20,sit", "b.mp4,10,20,lie")
    dataset = Table(data=write("clips.csv", text), folds=3, fold=1).read()
    assert "Classes without training clips: lie." in dataset.notes


def test_no_split_names_the_three_ways(write) -> None:
    with pytest.raises(InputError, match=r"--split-file FILE.*--folds"):
        Table(data=write("clips.csv", UNSPLIT)).read()


@pytest.mark.parametrize(
    ("splits", "number", "message"),
    [
        (SPLITS, 7, 'no column "split_7", only subject, split_0, split_1'),
        (SPLITS, None, 'no column "split", .* choose one with --split N'),
        (SPLITS + "ann,test,train\n", 0, 'row 5: subject "ann" was listed before'),
        (SPLITS.replace("bob", "rob"), 0, 'subject "bob" is not in .* nearest name is "rob"'),
        (SPLITS.replace("val,train", "dev,train"), 0, 'row 3: part "dev" is unknown'),
    ],
)
def test_second_file_is_checked(write, splits: str, number: int | None, message: str) -> None:
    table = Table(
        data=write("clips.csv", UNSPLIT), split_file=write("splits.csv", splits), split=number
    )
    with pytest.raises(InputError, match=message):
        table.read()


def test_ways_exclude_each_other(write) -> None:
    data, splits = write("clips.csv", UNSPLIT), write("splits.csv", SPLITS)
    with pytest.raises(InputError, match="exclude each other"):
        Table(data=data, split_file=splits, folds=3, fold=0).read()
    with pytest.raises(InputError, match="--split 1 needs --split-file FILE"):
        Table(data=data, split=1).read()


def test_without_subjects_each_video_is_its_own(write) -> None:
    text = "\n".join(
        ",".join(line.split(",")[i] for i in (0, 1, 2, 3, 5)) for line in TABLE.splitlines()
    )
    dataset = Table(data=write("clips.csv", text)).read()
    assert not dataset.subjects_known
    assert {clip.subject for clip in dataset.annotations} == {"a.mp4", "b.mp4", "sub/c.mp4"}


def test_shared_subject(write) -> None:
    text = changed("10,20,sit,cid", "10,20,sit,ann")
    with pytest.raises(InputError, match=r"ann \(train, test\)"):
        Table(data=write("clips.csv", text)).read()


@pytest.mark.parametrize(
    "text",
    [
        "video,label,split\na.mp4,x,train\nb.mp4,x,val\nc.mp4,x,test\n",
        "video,start,end,label,split\na.mp4,,,x,train\nb.mp4,,,x,val\nc.mp4,,,x,test\n",
    ],
)
def test_whole_videos(write, text: str) -> None:
    clips = Table(data=write("clips.csv", text)).read().annotations
    assert {(clip.clip_id, clip.start, clip.stop) for clip in clips} == {
        ("a", None, None),
        ("b", None, None),
        ("c", None, None),
    }


def test_seconds(write) -> None:
    text = changed("a.mp4,0,10,", "a.mp4,0.5,10.25,")
    clip = Table(data=write("clips.csv", text), unit="seconds").read().annotations[0]
    assert (clip.start, clip.stop, clip.unit) == (0.5, 10.25, "seconds")
    assert clip.clip_id == "a#0.5-10.25"


def test_frames_may_be_written_with_a_point(write) -> None:
    clip = Table(data=write("c.csv", changed("a.mp4,0,10,", "a.mp4,0.0,10.0,"))).read()
    assert clip.annotations[0].clip_id == "a#0-10"
    assert isinstance(clip.annotations[0].stop, int)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a.mp4,0,10", "a.mp4,0,1.5", "row 2: end 1.5 is not a whole number; use --unit seconds"),
        ("a.mp4,10,20", "a.mp4,20,10", "row 3: start 20 is not before end 10"),
        ("a.mp4,0,10", "a.mp4,10,10", "row 2: start 10 is not before end 10"),
        ("a.mp4,0,10", "a.mp4,-3,10", "row 2: start -3 is negative"),
        ("a.mp4,0,10", "a.mp4,0,", 'row 2: column "end" is empty'),
        ("a.mp4,0,10", "a.mp4,,10", 'row 2: column "start" is empty'),
        ("a.mp4,0,10", "a.mp4,zero,10", 'row 2: start "zero" is not a number'),
        ("a.mp4,10,20,sit", "a.mp4,0,10,sit", 'row 2 and .* row 3 are both clip "a#0-10"'),
        ("ann,train", "ann,training", 'row 2: part "training" is unknown'),
        ("a.mp4,0,10,walk,ann", "a.mp4,0,10,walk,", 'row 2: column "subject" is empty'),
        ("a.mp4,0,10,walk", "a.mp4,0,10,", 'row 2: column "label" is empty'),
        ("video,start,end", "video,start,length", 'a column "start" but no column "end"'),
        ("video,start,end", "video,begin,finish", 'a column "begin" .* rename it to start'),
        ("video,start,end", "video,start,finish", 'a column "finish" .* rename it to end'),
        ("video,start,end", "video,start_time,end_time", 'a column "start_time" .* to start'),
        ("video,start,end", "video,from,to", 'a column "from" .* rename it to start'),
        ("video,start,end", "video,t0,t1", 'a column "t0" .* rename it to start'),
        ("video,start,end", "video,Onset (s),Offset (s)", 'a column "onset .s." .* to start'),
        ("video,start,end", "video,frame_start,frame_stop", 'a column "frame_start" .* to start'),
        ("video,start,end", "video,note,end", 'a column "end" but no column "start"'),
        ("video,start,end,label", "video,stop,end,label", 'columns "end" and "stop"'),
        ("video,start", "file,start", 'no column "video"'),
    ],
)
def test_bad_rows(write, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Table(data=write("clips.csv", changed(old, new))).read()


def test_own_clip_ids(write) -> None:
    text = "video,label,split,clip_id\na.mp4,x,train,one\nb.mp4,x,val,two\nc.mp4,x,test,three\n"
    clips = Table(data=write("clips.csv", text)).read().annotations
    assert [clip.clip_id for clip in clips] == ["one", "two", "three"]
    with pytest.raises(InputError, match=r'row 2 and .* row 3 are both clip "one"'):
        Table(data=write("clips.csv", text.replace("two", "one"))).read()


def test_class_list(write) -> None:
    data = write("clips.csv", TABLE)
    assert Table(data=data, classes=write("c.txt", "walk\nsit\n")).read().classes == ("walk", "sit")
    with pytest.raises(InputError, match=r'row 3: label "sit" is not in .* nearest name is "sits"'):
        Table(data=data, classes=write("c.txt", "walk\nsits\n")).read()


def test_labels_of_one_part_only(write) -> None:
    dataset = Table(data=write("c.csv", changed("b.mp4,10,20,sit", "b.mp4,10,20,sti"))).read()
    assert "Labels found in val only: sti." in dataset.notes


def test_a_misspelt_column_does_not_pass_in_silence(write) -> None:
    dataset = Table(data=write("clips.csv", changed("subject,", "subject_id,"))).read()
    assert not dataset.subjects_known
    assert dataset.notes == ('Column "subject_id" is not used; rename it if it is "subject".',)


def test_absolute_paths(write, tmp_path: Path) -> None:
    text = changed("a.mp4", f"{tmp_path}/a.mp4").replace("b.mp4", "/elsewhere/b.mp4")
    dataset = Table(data=write("clips.csv", text)).read()
    assert {clip.video: clip.path for clip in dataset.annotations} == {
        "a.mp4": tmp_path / "a.mp4",
        "/elsewhere/b.mp4": Path("/elsewhere/b.mp4"),
        "sub/c.mp4": tmp_path / "sub/c.mp4",
    }


@pytest.mark.parametrize("number", [0, 1, 2])
def test_real_lips(real_data, counts, number: int) -> None:
    lips = real_data("lips")
    table = Table(data=lips / "clips.csv", split_file=lips / "splits.csv", split=number)
    dataset = table.read()
    assert counts(dataset) == (2000, 400, 600)
    speakers = {(clip.subject, clip.split) for clip in dataset.annotations}
    found = [sum(split == part for _, split in speakers) for part in ("train", "val", "test")]
    assert found == [10, 2, 3]
    assert (len(dataset.classes), dataset.subjects_known, dataset.notes) == (20, True, ())
    assert all(clip.path.is_file() for clip in dataset.annotations[::100])


def test_real_thermal(real_data) -> None:
    data = real_data("thermal") / "clips.csv"
    tested: list[str] = []
    for fold in range(3):
        dataset = Table(data=data, folds=3, fold=fold).read()
        assert (len(dataset.annotations), len(dataset.classes)) == (86, 9)
        assert any(note.startswith("Classes without training clips") for note in dataset.notes)
        tested += [clip.clip_id for clip in dataset.annotations if clip.split == "test"]
    assert len(tested) == len(set(tested)) == 86


def test_stop_is_end(write) -> None:
    ends, stops = write("clips.csv", TABLE), write("stops.csv", changed("end", "stop"))
    assert Table(data=stops).read().annotations == Table(data=ends).read().annotations


def test_other_columns_are_named_in_one_line(write) -> None:
    lines = [f"{line},sun,4,2" for line in TABLE.splitlines()[1:]]
    header = "video,start,end,label,subject,split,weather,end_weather,total"
    dataset = Table(data=write("clips.csv", "\n".join([header, *lines]))).read()
    assert dataset.notes == ("Columns that are not used: weather, end_weather, total.",)


def test_whether_the_unit_is_assumed(write) -> None:
    data = write("clips.csv", TABLE)
    assert Table(data=data).read().unit_assumed
    assert not Table(data=data, unit="frames").read().unit_assumed
    assert not Table(data=data, unit="seconds").read().unit_assumed
