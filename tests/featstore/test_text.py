from hypothesis import given
from hypothesis import strategies as st

from featstore.text import as_cell, listed, of_cell, visible

FORMULA = ("=", "+", "-", "@", "\t", "\r")


@given(st.text())
def test_a_cell_is_no_formula_and_reads_back(text: str) -> None:
    assert of_cell(as_cell(text)) == text
    assert not as_cell(text).startswith(FORMULA)


@given(st.sampled_from(FORMULA), st.integers(0, 3), st.text())
def test_a_cell_with_apostrophes_before_a_formula_reads_back(
    sign: str, apostrophes: int, text: str
) -> None:
    text = "'" * apostrophes + sign + text
    assert of_cell(as_cell(text)) == text
    assert as_cell(text) == f"'{text}"


def test_text_without_control_characters_stays() -> None:
    for text in ("walking", "it's", "歩く", "café", "a\u200db"):
        assert visible(text) == as_cell(text) == text


def test_control_characters_are_shown() -> None:
    assert visible("\x1b]0;title\x07") == "\\x1b]0;title\\x07"
    assert visible("a\nb\r", keep="\n") == "a\nb\\r"
    assert visible("\u202eabc\u2028\udcff\x9b") == "\\u202eabc\\u2028\\udcff\\x9b"


def test_long_lists_of_names_end_with_a_count() -> None:
    assert listed([f"c{i}" for i in range(3000)], most=2) == "c0, c1 and 2,998 more"
