"""JSON that somebody may have edited."""

import json

import pytest

from featstore.json_text import MOST_DEPTH, parse_json, parse_object


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        "[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1),
        '{"a":' * 500 + "1" + "}" * 500,
        "9" * 5000,
        r'"\ud800"',
        "{",
        "",
    ],
)
def test_what_is_no_json_or_cannot_be_shown_is_one_kind_of_error(text: str) -> None:
    for given in (text, text.encode()):
        with pytest.raises(ValueError):  # noqa: PT011 - its callers say which file it is
            parse_json(given)


def test_anything_else_is_what_json_says() -> None:
    deep: list[object] = []
    for _ in range(MOST_DEPTH - 1):
        deep = [deep]
    for value in (deep, {"a": [1, 2.5, None, True, "é😀"]}, 3, "[" * 1000):
        assert parse_json(json.dumps(value)) == value
    assert parse_json('"😀\\ud83d\\ude00"') == "😀😀"


@pytest.mark.parametrize("text", ["[]", "[[1, 2]]", "null", '"a"'])
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(ValueError, match="expected a JSON object"):
        parse_object(text)
