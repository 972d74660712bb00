import re

import pytest

from pipeline.report.markdown import Markup, plain, table

NASTY = (
    *("<img src=x onerror=alert(1)>", "[click](javascript:alert(1))", "a|b", "`rm`", "two\nlines"),
    *("**bold**", "_x_", "\x1b[31mred", "&lt;b&gt;", "~~gone~~", "![](http://x)", "\\"),
)


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_as_they_are(name: str) -> None:
    (row,) = table([""], [[name]])[2:]
    assert row == f"| {plain(name)} |"
    assert not re.search(r"[<>\n\x00-\x1f]", row)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*~\[\]]", row)
    assert len(re.findall(r"(?<!\\)\|", row)) == 2


def test_ordinary_names_stay_readable() -> None:
    for name in ("looking_or_moving_around (e.g. searching)", "R&D", "50 %", "a-b, c; d'e", "-3.1"):
        assert plain(name) == name
    assert table(["a"], [[Markup("[run](run/report.md)")]])[-1] == "| [run](run/report.md) |"
