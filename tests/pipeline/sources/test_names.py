from __future__ import annotations

import os
from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.folders import Folders
from pipeline.sources.lists import Lists
from pipeline.sources.names import check_characters, lookalikes, on_disk, printable
from pipeline.sources.table import Table

ONE, TWO = "Jos\u00e9", "Jose\u0301"  # one name in the normal forms C and D


def rows(*lines: str) -> str:
    return "\n".join(["video,label,subject,split", *lines]) + "\n"


def test_a_leak_in_another_normal_form_is_refused(write) -> None:
    text = rows(f"a.mp4,x,{ONE},train", "b.mp4,x,bo,val", f"c.mp4,x,{TWO},test")
    with pytest.raises(InputError, match=rf"leak .*{ONE} \(train, test\)"):
        Table(data=write("t.csv", text)).read()


def test_labels_in_two_normal_forms_are_one_class(write) -> None:
    text = rows(f"a.mp4,{ONE},1,train", f"b.mp4,{TWO},2,val", f"c.mp4,{TWO},3,test")
    assert Table(data=write("t.csv", text)).read().classes == (ONE,)
    classes = write("classes.txt", f"{TWO}\n")
    assert Table(data=write("t.csv", text), classes=classes).read().classes == (ONE,)


def test_a_splits_file_in_another_normal_form(write) -> None:
    table = write("t.csv", f"video,label,subject\na.mp4,x,{ONE}\nb.mp4,x,bo\nc.mp4,x,cy\n")
    splits = write("s.csv", f"subject,split_0\n{TWO},train\nbo,val\ncy,test\n")
    dataset = Table(data=table, split_file=splits, split=0).read()
    assert {clip.subject: clip.split for clip in dataset.annotations}[ONE] == "train"


def test_folders_of_two_normal_forms_are_one_class(write, tmp_path: Path) -> None:
    for part, label in (("train", ONE), ("val", TWO), ("test", ONE)):
        write(f"{part}/{label}/{part}{label}.mp4", "")
    dataset = Folders(data=tmp_path).read()
    assert dataset.classes == (ONE,)
    for clip in dataset.annotations:
        assert clip.video.count(ONE) == 2
        assert on_disk(clip.path, clip.video).exists()


@pytest.mark.parametrize("there", [ONE, TWO])
def test_a_file_is_found_in_either_normal_form(write, tmp_path: Path, there: str) -> None:
    file = write(f"{there}/{there}.mp4", "")
    for name in (f"{ONE}/{ONE}.mp4", f"{TWO}/{TWO}.mp4", f"{ONE}/{TWO}.mp4"):
        assert on_disk(tmp_path / name, name) == file
    missing = f"{ONE}/x.mp4"
    assert not on_disk(tmp_path / missing, missing).exists()


def test_two_files_of_one_name_are_refused(write, tmp_path: Path) -> None:
    write(f"{ONE}.mp4", "1")
    write(f"{TWO}.mp4", "2")
    with pytest.raises(InputError, match=r"2 entries named .*u0301.*xe9"):
        on_disk(tmp_path / f"{ONE}.mp4", f"{ONE}.mp4")


def test_names_that_look_alike_are_noted(write) -> None:
    text = rows("a.mp4,Eat,P01,train", "b.mp4,eat,Ann  Lee,val", "c.mp4,Eat,p01,test")
    notes = Table(data=write("t.csv", text)).read().notes
    assert any(note.startswith("Classes") and '"Eat", "eat"' in note for note in notes)
    assert any('"P01" (train), "p01" (test)' in note for note in notes)


def test_lookalikes() -> None:
    assert lookalikes(["a b", "ab", "A\u00a0B", "a\u200bb", "c", "d"]) == [
        sorted(["a b", "ab", "A\u00a0B", "a\u200bb"])
    ]


@pytest.mark.parametrize("sign", ["\n", "\r", "\t", "\x07", "\x85", "\u2028"])
@pytest.mark.parametrize("column", ["label", "subject"])
def test_control_characters_are_refused_by_row(write, sign: str, column: str) -> None:
    cells = {"video": "b.mp4", "label": "x", "subject": "s", "split": "val"}
    cells[column] = f'"one{sign}two"'
    header, row = ",".join(cells), ",".join(cells.values())
    path = write("t.csv", f"{header}\na.mp4,x,t,train\n\n{row}\n")
    with pytest.raises(InputError, match=rf"row 4: {column} .*holds a (line break|control)"):
        Table(data=path).read()


def test_a_control_character_in_a_class_list(write) -> None:
    lists = Lists(
        data=Path(),
        train_list=write("a.txt", "a.mp4 x\n"),
        test_list=write("b.txt", "b.mp4 x\n"),
        classes=write("c.txt", "x\n\ny\x0cz\n"),
    )
    with pytest.raises(InputError, match=r"row 3: class .* holds a "):
        lists.read()


def test_what_holds_a_line_break_says_so() -> None:
    with pytest.raises(InputError, match=r"1: label 'a\\nb'.*break \(\\n\)"):
        check_characters("label", "a\nb", "row 1")


def test_a_file_name_that_is_not_utf8_is_named(write, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write(f"{part}/x/{part}.mp4", "")
    try:
        (tmp_path / "val/x/val.mp4").rename(tmp_path / "val/x" / os.fsdecode(b"\xe9.mp4"))
    except OSError:
        pytest.skip("this disk takes UTF-8 only")
    with pytest.raises(InputError, match=r"val/x/\\xe9\.mp4:.*UTF-8") as raised:
        Folders(data=tmp_path).read()
    assert str(raised.value).isascii()


def test_printable_leaves_other_names_as_they_are() -> None:
    assert printable(ONE) == ONE
