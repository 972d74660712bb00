"""The page of a comparison: what moved; and what it shares with the other pages."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.chromium import Chromium
from pipeline.cli import main
from pipeline.report.html_comparison import MOST_MOVED, page
from pipeline.report.html_page import sections_of
from pipeline.report.markdown import Markup, table
from pipeline.runs.compare import compare, read_group
from tests.browsing import CONTRAST, browse, load, needs_chromium
from tests.pipeline.report.test_html import text_of
from tests.runs import rights, write_run

PROBE = """
(() => {
  const table = document.querySelector(".words table");
  table.querySelectorAll("button")[5].click();
  const points = [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[5].textContent));
  return [points.length, points.every((value, at) => !at || value <= points[at - 1])];
})()
"""


def compared(*groups: str) -> str:
    return page(compare([read_group(group, "test") for group in groups]), "test")


def test_the_clips_and_classes_that_moved(tmp_path: Path) -> None:
    first = np.ones(30, bool)
    other = first.copy()
    other[[4, 9]] = False
    a, b = write_run(tmp_path / "a", first), write_run(tmp_path / "<b>", other)
    text = text_of(compared(str(a), str(b)))
    assert "0 clips better, 2 worse." in text
    assert "clip0004 eat vp1 eat drink -100.0" in text
    assert "clip0009 sit vp3 sit eat -100.0" in text
    assert "<b>: classes" in text
    assert "<b>" not in compared(str(a), str(b))
    same = write_run(tmp_path / "c", first)
    assert "No clip moved." in text_of(compared(str(a), str(same)))


def test_groups_say_how_many_runs_were_right(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"a{seed}", np.ones(30, bool)) for seed in range(2)]
    half = np.ones(30, bool)
    half[4] = False
    others = [write_run(tmp_path / "b0", half), write_run(tmp_path / "b1", np.ones(30, bool))]
    names = [",".join(map(str, group)) for group in (runs, others)]
    text = text_of(compared(*names))
    assert "clip0004 eat vp1 2 of 2 right 1 of 2 right, else mostly drink -50.0" in text


def test_the_command_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 0), ("b", 1)):
        write_run(Path(name), rights(share=0.5, seed=seed))
    done = CliRunner().invoke(main, ["compare", "a", "b", "--out", "c.html"])
    assert done.exit_code == 0, done.output
    text = Path("c.html").read_text("utf-8")
    assert f"the {MOST_MOVED} that changed most are shown" in text
    assert len(re.findall(r">clip\d{4}<", text)) == MOST_MOVED
    for line in done.stdout.splitlines():
        if line.startswith("| ") and "---" not in line:
            assert " ".join(line.replace("|", " ").split()) in text_of(text)
    refused = CliRunner().invoke(main, ["compare", "a", "b", "--out", "c.pdf"])
    assert refused.exit_code == 2
    assert "c.pdf" in refused.stderr


def test_sections_keep_names_literal_and_link_to_other_pages() -> None:
    rows = [[Markup("[run](run/report.md)"), "1"]]
    report = "\n".join(["# *a*", "", "## x: &lt;i&gt;", "", *table(["run", "n"], rows)])
    title, sections = sections_of(report)
    assert (title, list(sections)) == ("*a*", ["x: <i>"])
    assert '<a href="run/report.html">run</a>' in sections["x: <i>"]


@needs_chromium
def test_a_browser_sorts_it_on_a_phone_in_the_dark(tmp_path: Path) -> None:
    a, b = (
        write_run(tmp_path / (name * 30), rights(30, share=0.5, seed=seed))
        for seed, name in enumerate("ab")
    )
    shown = browse(compared(str(a), str(b)), PROBE, tmp_path, width=500, dark=True)
    moved = int((rights(30, share=0.5, seed=0) != rights(30, share=0.5, seed=1)).sum())
    assert shown == [moved, True]


@needs_chromium
def test_the_browser_notices_what_a_page_loads(tmp_path: Path) -> None:
    """Or the tests of pages would see nothing."""
    (tmp_path / "page.html").write_text("<p style='color: #999'>text</p><img src='picture.png'>")
    with Chromium(tmp_path / "profile") as browser:
        load(browser, (tmp_path / "page.html").as_uri())
        names = [address.rpartition("/")[2] for address in browser.requests]
        assert names == ["page.html", "picture.png"]
        assert len(browser.messages) == 1
        contrast, text = browser.run(CONTRAST)
        assert contrast == pytest.approx(2.85, abs=0.01)
        assert text == "text"
