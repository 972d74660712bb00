from __future__ import annotations

from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.labels import listing, nearest_hint, read_classes


def test_plain_names_count_from_zero(write) -> None:
    classes = read_classes(write("classes.txt", "eating\n\n looking (e.g. searching) \n"))
    assert classes.names == ("eating", "looking (e.g. searching)")
    assert classes.resolve("1", "here") == "looking (e.g. searching)"


def test_numbered_names_keep_their_numbers_and_their_order(write) -> None:
    classes = read_classes(write("classInd.txt", "2 Archery\n1 Apply Eye Makeup\n"))
    assert classes.names == ("Apply Eye Makeup", "Archery")
    assert classes.resolve("1", "here") == "Apply Eye Makeup"
    assert classes.resolve("Archery", "here") == "Archery"


def test_a_plain_name_may_start_with_a_number(write) -> None:
    assert read_classes(write("c.txt", "3 steps\nwalk\n")).names == ("3 steps", "walk")


def test_a_name_that_is_a_number_is_the_name(write) -> None:
    assert read_classes(write("c.txt", "1\n0\n")).resolve("1", "here") == "1"


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("Drinkin", 'row 4: label "Drinkin" is not in .*; the nearest name is "drinking"'),
        ("7", "row 4: label 7 is not a number of .*, which holds 0 to 1"),
    ],
)
def test_unknown_label(write, label: str, message: str) -> None:
    classes = read_classes(write("c.txt", "eating\ndrinking\n"))
    with pytest.raises(InputError, match=message):
        classes.resolve(label, "row 4")


@pytest.mark.parametrize("text", ["a\nb\na\n", "1 a\n2 a\n", "1 a\n1 b\n"])
def test_nothing_twice(write, text: str) -> None:
    with pytest.raises(InputError, match="twice"):
        read_classes(write("c.txt", text))


def test_missing_and_empty_file(write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt.*exist"):
        read_classes(tmp_path / "none.txt")
    with pytest.raises(InputError, match="is empty"):
        read_classes(write("c.txt", " \n"))


def test_nearest_looks_past_case_and_names_nothing_far() -> None:
    assert '"eating"' in nearest_hint("EATING", ["fighting", "eating"])
    assert nearest_hint("xyz", ["fighting", "eating"]) == ""


def test_listing() -> None:
    assert listing([]) == ""
    assert listing(["a", "b", "c"]) == "a, b, c"
    assert listing(["a", "b", "c"], limit=1) == "a and 2 more"
