"""The page of a run: its content, that it loads nothing, and that a browser shows it."""

import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featstore.errors import InputError
from pipeline.metrics.calibration import reliability_of
from pipeline.metrics.classification import metrics_of_predictions
from pipeline.report.html_matrix import LISTED, MOST_LISTED, clips_of_cells
from pipeline.report.html_strips import UNASKED, Strip, Strips
from pipeline.report.html_text import blocks, inline
from pipeline.report.markdown import percent, plain, table
from pipeline.report.run import report
from pipeline.runs.files import write_csv, write_json, write_yaml
from tests.browsing import browse, needs_chromium
from tests.pipeline.report.test_run import INTERVALS, metrics

BAD = ('<img src="x" onerror="alert(1)">', "</script><b>", 'a "quoted" & `odd` name', "two\nlines")


def strips(clips: Sequence[str]) -> dict[str, Strip | str]:
    """Strips of black pictures; of one clip a reason."""
    picture, jpeg = Image.new("L", (768, 72)), io.BytesIO()
    picture.save(jpeg, "JPEG")
    facts = {"jpeg": jpeg.getvalue(), "width": 768, "height": 72, "frames": 8, "missing": 1}
    strip = Strip(**facts, begin=1.0, end=2.5, attention=[0.5, 2.5, 0.0, 1.0])
    return {clip: "<gone>" if clip == "clip0" else strip for clip in clips}


def written(
    run: Path, classes: tuple[str, ...], strips: Strips | None = None, **changes: Any
) -> str:
    """The page of a run of 30 test clips, of which every fifth is mistaken."""
    labels = np.arange(30) % len(classes)
    guesses = np.where(np.arange(30) % 5, labels, (labels + 1) % len(classes))
    part = metrics_of_predictions(labels, guesses, len(classes)).as_dict(classes)
    write_json(run / "metrics.json", metrics(val=part, test=part, **changes))
    rows = zip(range(30), labels, guesses, strict=True)
    predictions = [
        {
            "clip": f"clip{i}",
            "part": part,
            "label": classes[label],
            "prediction": classes[guess],
            "probability": 0.5 + i / 100,
            "subject": f"vp{i % 3}",
        }
        for i, label, guess in rows
        for part in ("val", "test")
    ]
    write_csv(run / "predictions.csv", predictions)
    names = ("train_loss", "train_top1", "val_loss", "val_top1", "val_mean_class_accuracy")
    history = [{"epoch": e, **dict.fromkeys(names, 0.25 * e)} for e in (1, 2, 3)]
    write_csv(run / "history.csv", history)
    store = {"key": "f00d", "path": "s", "features": 4, "classes": [], "statistics": None}
    recipe = {"name": "bilstm", "train": {"lr": 0.01}}
    write_yaml(run / "config.yaml", {"recipe": recipe, "seed": 0, "device": "cpu", "store": store})
    report(run, strips)
    return (run / "report.html").read_text("utf-8")


def text_of(page: str) -> str:
    """What a reader sees of a page, on one line."""
    body = re.sub(r"(?s)<(script|style)\b.*?</\1>", "", page)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_has_the_numbers_of_the_report(tmp_path: Path) -> None:
    train = {"clips": 20, "per_class": [12, 5, 3], "classes_without_clips": []}
    page = written(tmp_path, ("a", "b", "c"), intervals={"test": INTERVALS}, train=train)
    text = text_of(page)
    assert "top-1 on test 80.0 % 25.0 to 100.0, 95 % interval over subjects" in text
    report = (tmp_path / "report.md").read_text("utf-8")
    shared = re.sub(r"(?s)## Most confused.*?(?=## )", "", report).splitlines()
    rows = [line for line in shared if line.startswith("| ") and "---" not in line]
    assert len(rows) > 10
    for row in rows:
        assert " ".join(row.replace("|", " ").split()) in text
    lines = [line[2:] for line in shared if line.startswith("- ")]
    assert lines
    assert all(line in text for line in lines)
    assert "featstore train --store f00d --recipe recipe.yaml --seed 0 --device cpu" in text
    assert "clip25 b c vp1 75.0 %" in text  # the most confident mistake
    assert text.index("clip25 b") < text.index("clip20 c")
    assert (
        "by epoch, from 1 to 3. train loss ends at 0.750." in (tmp_path / "report.html").read_text()
    )


def test_nothing_is_loaded(tmp_path: Path) -> None:
    page = written(tmp_path, ("a", "b"), strips)
    assert "http:" not in page
    assert "https:" not in page
    assert all(source.startswith("data:image/jpeg") for source in re.findall(r'src="(.*?)"', page))
    assert not re.search(r"<script[^>]*\ssrc|<iframe|@import|url\(", page)
    assert re.findall(r'href="([^"]*)"', page)[0] == "data:,"
    assert all(link.startswith(("#", "data:")) for link in re.findall(r'href="([^"]*)"', page))
    assert "default-src 'none'" in page


def test_strips_of_mistakes_and_of_a_clip_of_each_class(tmp_path: Path) -> None:
    page = written(tmp_path, ("a", "b", "c"), strips)
    assert page.count('<figure class="strip"') == 5 + 3
    text = text_of(page)
    assert "c , taken for a , 70.0 % clip20, subject vp2, 1.00 to 2.50 s of the video" in text
    assert "b , recognised, 66.0 % clip16, subject vp1" in text  # the sixth of its ten
    assert "1 frame did not decode, attention up to 2.5 times its mean" in text
    assert "No frames of 1 clip (clip0): <gone>." in text
    assert UNASKED not in page
    assert written(tmp_path, ("a", "b", "c")).count(UNASKED) == 2


def test_names_are_no_markup(tmp_path: Path) -> None:
    page = written(tmp_path, BAD, title=BAD[0], recipe=BAD[1])
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert html.escape(BAD[0]) in page
    assert r"two\nlines" in page
    assert 'a "quoted" & `odd` name' in text_of(page)


def test_clips_of_cells_are_bounded_and_mistakes_come_first() -> None:
    rows = [
        {"clip": f"c{i}", "label": "a", "prediction": guess, "probability": f"0.{i:04d}"}
        for guess in ("a", "b")
        for i in range(50)
    ]
    cells = json.loads(clips_of_cells(rows, ["a", "b"]))
    assert list(cells) == ["0,1", "0,0"]
    assert [clip for clip, _, _ in cells["0,0"]] == [f"c{i}" for i in range(49, 49 - LISTED, -1)]
    names = [str(i) for i in range(200)]
    many = [
        {"clip": "c", "label": name, "prediction": "0", "probability": "1"}
        for name in names
        for _ in range(LISTED)
    ]
    listed = json.loads(clips_of_cells(many, names))
    assert sum(map(len, listed.values())) == MOST_LISTED
    assert "0,0" not in listed


def test_many_classes_show_the_largest(tmp_path: Path) -> None:
    page = written(tmp_path, tuple(f"class {i}" for i in range(3000)))
    assert "The 40 of 3,000 classes with the most clips are shown." in page
    assert page.count("<tr data-class=") == 40
    assert len(page) < 600_000


def test_missing_files_are_said_and_damaged_ones_refused(tmp_path: Path) -> None:
    written(tmp_path, ("a", "b"))
    names = ("history.csv", "predictions.csv", "config.yaml")
    before = {name: (tmp_path / name).read_text() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    report(tmp_path)
    text = text_of((tmp_path / "report.html").read_text("utf-8"))
    assert all(f"{name} is missing." in text for name in names)
    (tmp_path / "history.csv").write_text("epoch,train_loss\none,2\n")
    with pytest.raises(InputError, match=r"history.csv"):
        report(tmp_path)
    (tmp_path / "history.csv").unlink()
    damaged = {"cannot be read": (",0.5,", ",half,"), "names other,": (",a,b,", ",a,other,")}
    for message, (old, new) in damaged.items():
        (tmp_path / "predictions.csv").write_text(before["predictions.csv"].replace(old, new))
        with pytest.raises(InputError, match=message):
            report(tmp_path)


def test_markdown_of_tables_becomes_html() -> None:
    names = ["a|b", r"back\slash", "&lt;", "&copy", "<i>", "**", "`x`", "_y_"]
    page = blocks(table(["name", "n"], [[name, "1"] for name in names]), "names")
    cells = re.findall(r'<th scope="row">(.*?)</th>', page)
    assert [html.unescape(cell.replace("&amp;copy", "&amp;copy;")) for cell in cells] == [
        name.replace("&copy", "&copy;") for name in names
    ]
    assert all(inline(plain(name)) == cell for name, cell in zip(names, cells, strict=True))


def test_reliability_of_probabilities() -> None:
    bins = reliability_of(np.array([0.8, 0.8, 0.8]), np.array([True, True, False]))
    assert bins.error == pytest.approx(0.8 - 2 / 3)
    assert percent(bins.error) == "13.3 %"


PROBE = """
(() => {
  const shown = [];
  const cells = () => [...document.querySelectorAll("#matrix tbody tr")]
    .map((row) => row.cells[0].textContent).join();
  shown.push(cells());
  const order = document.getElementById("order");
  order.value = "recall";
  order.dispatchEvent(new Event("change"));
  shown.push(cells());
  const wrong = document.querySelector("#matrix td.wrong button");
  shown.push(wrong.title);
  wrong.click();
  shown.push(document.querySelector("dialog[open] ol").textContent);
  shown.push(document.querySelectorAll("dialog[open] img").length);
  document.querySelector("dialog").close();
  const start = document.querySelector("#matrix button");
  start.focus();
  start.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  shown.push(document.activeElement.title);
  shown.push(document.querySelectorAll("#matrix [tabindex='0']").length);
  document.querySelectorAll("#classes-on-test thead button")[3].click();
  shown.push(document.querySelector("#classes-on-test tbody th").textContent);
  return shown;
})()
"""


@needs_chromium
@pytest.mark.parametrize(("dark", "width"), [(False, 1300), (True, 500)])
def test_a_browser_shows_it_without_complaint(tmp_path: Path, dark: bool, width: int) -> None:
    """Light on a desk, dark on a phone: sorting, clips, keys; frames are part of the page."""
    page = written(tmp_path, ("walking", "b" * 90, "c_" * 40, "none"), strips)
    shown = browse(page, PROBE, tmp_path, width=width, dark=dark)
    names = ["walking", "b" * 90, "c_" * 40, "none"]
    recall = {"walking": 6 / 8, "b" * 90: 6 / 8, "c_" * 40: 6 / 7, "none": 6 / 7}
    assert shown == [
        ",".join(names),
        ",".join(sorted(names, key=recall.__getitem__)),
        f"walking: 2 of 8 clips taken for {'b' * 90}",
        "clip20 – 70.0 %, subject vp2clip0 – 50.0 %, subject vp0",
        1,
        f"walking: 2 of 8 clips taken for {'b' * 90}",
        1,
        "c_" * 40,
    ]
