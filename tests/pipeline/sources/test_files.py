from __future__ import annotations

from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.files import (
    group_of,
    is_image_folder,
    locate,
    without_suffix,
)
from pipeline.sources.rows import read_table, read_text


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_mark_whitespace_and_blank_rows(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "t.csv"
    text = '\ufeffVideo, label \r\n a.mp4 ,"x"\r\n,\r\nb.mp4,y\r\n'
    path.write_bytes(text.replace(",", separator).encode())
    rows = read_table(path, ("video", "label"))
    assert [row.cells for row in rows] == [
        {"video": "a.mp4", "label": "x"},
        {"video": "b.mp4", "label": "y"},
    ]
    assert [row.number for row in rows] == [2, 4]


def test_quoted_separator(write) -> None:
    assert read_table(write("t.csv", 'a,b\n"x,y",z\n'), ("a",))[0].text("a") == "x,y"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("video,label\n", "has a header but no rows"),
        ("video,lable\na,b\n", 'no column "label"; the nearest is "lable"'),
        ("video,label,label\na,b,c\n", 'the column "label" twice'),
        ("video,label\na,b\na\n", "row 3 has 1 values where the header has 2 columns"),
        ("video,label\na,b,c\n", "row 2 has 3 values where the header has 2 columns"),
        ('video,label\n"a"b,c\n', "row 2 is not CSV"),
    ],
)
def test_malformed(write, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write("t.csv", text), ("video", "label"))


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"video,label\na,caf\xe9\n")
    with pytest.raises(InputError, match=r"UTF-8 text \(byte 0xe9.*17\)"):
        read_text(path)


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)


@pytest.mark.parametrize("value", ["x", "nan", "inf", "-inf"])
def test_numbers_are_finite(write, value: str) -> None:
    row = read_table(write("t.csv", f"a,b\n{value},1\n"), ("a",))[0]
    with pytest.raises(InputError, match=f'row 2: a "{value}" is not a number'):
        row.number_in("a")


def test_empty_value(write) -> None:
    row = read_table(write("t.csv", "a,b\n,1\n"), ("a",))[0]
    with pytest.raises(InputError, match='row 2: column "a" is empty'):
        row.text("a")


def test_names_do_not_depend_on_how_a_path_is_written(tmp_path: Path) -> None:
    names = {locate(tmp_path, text)[0] for text in ("a/b.mp4", "./a//b.mp4", f"{tmp_path}/a/b.mp4")}
    assert names == {"a/b.mp4"}
    assert locate(tmp_path, "a/b.mp4")[1] == tmp_path / "a/b.mp4"
    assert locate(tmp_path, "/elsewhere/b.mp4") == ("/elsewhere/b.mp4", Path("/elsewhere/b.mp4"))


def test_only_a_video_extension_is_cut() -> None:
    assert without_suffix("run.2018.kinect_ir.MP4") == "run.2018.kinect_ir"
    assert without_suffix("frames/clip.01") == "frames/clip.01"


def test_folder_of_numbered_images(write, tmp_path: Path) -> None:
    write("yes/frame_0001.JPG", "")
    write("no/cover.jpg", "")
    write("no/0001.txt", "")
    assert is_image_folder(tmp_path / "yes")
    assert not is_image_folder(tmp_path / "no")
    assert not is_image_folder(tmp_path / "yes/frame_0001.JPG")


def test_group() -> None:
    assert group_of("a/v_ApplyEyeMakeup_g25_c01.avi") == "g25"
    assert group_of("v_Big_g1_Jump_g02_c01") == "g02"
    assert group_of("clip_g01_c01.avi") is None
