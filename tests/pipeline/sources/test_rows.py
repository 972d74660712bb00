from __future__ import annotations

from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.rows import read_lines, read_table, read_text

CELLS = [{"video": "a.mp4", "label": "x"}, {"video": "b.mp4", "label": "y"}]


def rows_of(path: Path) -> list[tuple[int, dict[str, str]]]:
    return [(row.number, row.cells) for row in read_table(path, ("video", "label"))]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("\tvideo\tlabel\n0\ta.mp4\tx\n1\tb.mp4\ty\n", (2, 3)),  # pandas' index
        (",video,label\n0,a.mp4,x\n1,b.mp4,y\n", (2, 3)),
        ("video,label,,\na.mp4,x,,\nb.mp4,y\n,,,\n", (2, 3)),
        ("video,label\na.mp4,x,\nb.mp4,y,,\n", (2, 3)),
        ("sep=;\r\nvideo;label\r\na.mp4;x\r\nb.mp4;y\r\n", (3, 4)),
        ('"sep=,"\nvideo,label\na.mp4,x\nb.mp4,y\n', (3, 4)),
        ("sep=|\nvideo|label\na.mp4|x\nb.mp4|y\n", (3, 4)),
        ("\n \nvideo,label\n\na.mp4,x\n\n , \nb.mp4,y\n\n", (5, 8)),
        ("video , label \n a.mp4 , x \nb.mp4\u00a0,y\n", (2, 3)),
    ],
)
def test_what_spreadsheets_write(write, text: str, numbers: tuple[int, int]) -> None:
    assert rows_of(write("t.csv", text)) == list(zip(numbers, CELLS, strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("video\tlabel\r\na.mp4\tcaf\u00e9\r\n".encode(encoding))
    assert rows_of(path) == [(2, {"video": "a.mp4", "label": "caf\u00e9"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video,label".encode("utf-16-le"), "NUL bytes, as UTF-16"),
        ("caf\u00e9,label".encode("cp1252"), "not UTF-8 text .byte 0xe9 at offset 3"),
        (b"PK\x03\x04rest", "workbook"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_text(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,label,\na,x,\nb,y,7\n", 'row 3 has "7" in column 3, which has no name'),
        ("video,,label\na,7,x\n", 'row 2 has "7" in column 2'),
        ("\n\nvideo,label\n\na,x,7\n", "row 5 has 3 values"),
        ('video,label\n"a\nb",x\nc\n', "row 4 has 1 values"),
        ('video,label\na,x\n"b"c,y\n', "row 3 is not CSV"),
        (",,\n,,\n", "no header"),
    ],
)
def test_rows_are_named_by_their_line(write, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write("t.csv", text), ("video", "label"))


def test_a_decimal_comma_is_named(write) -> None:
    row = read_table(write("t.csv", "a;b\n1,5;2\n"), ("a",))[0]
    with pytest.raises(InputError, match='row 2: a "1,5" is not a number; write a decimal point'):
        row.number_in("a")


def test_lines_end_where_editors_end_them(write) -> None:
    path = write("t.txt", "\na\u2028b\x0cc\r\n\nd\re")
    assert read_lines(path) == [(2, "a\u2028b\x0cc"), (4, "d"), (5, "e")]


def test_text_has_one_normal_form(write) -> None:
    assert read_text(write("t.txt", "Jose\u0301")) == "Jos\u00e9"
