import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager

from pipeline.metrics.classification import metrics_of
from pipeline.report import figures, fonts

PRIVATE = "\ue000"  # a character that no font of any language has


@pytest.fixture
def only_dejavu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away all fonts but those that come with matplotlib."""
    own = Path(font_manager.findfont(fonts.DEFAULT)).parent
    entries = [e for e in font_manager.fontManager.ttflist if Path(e.fname).parent == own]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    fonts.families.cache_clear()
    yield
    fonts.families.cache_clear()


def draw(names: tuple[str, ...]) -> fonts.Labels:
    """Draw a confusion matrix with names; a missing glyph is a warning, hence an error."""
    labels = fonts.labels_of(names)
    metrics = metrics_of(np.eye(len(names), dtype=np.int64))
    figure = figures.confusion(metrics, labels.texts, "val")
    figures.set_text(figure, labels.families)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    return labels


def test_latin_names_need_no_other_font() -> None:
    assert draw(("walking", "Übung ≤ 3", "costs $_$")).families == (fonts.DEFAULT,)


@pytest.mark.usefixtures("only_dejavu")
def test_names_that_no_font_has_are_numbered_with_one_sentence() -> None:
    names = ("歩く", "walk", "走る", "泳ぐ", "飛ぶ")
    labels = draw(names)
    assert labels.texts == ("class 0", "walk", "class 2", "class 3", "class 4")
    (note,) = labels.notes
    assert "4 classes (歩く, 走る, 泳ぐ and 1 more)" in note


def test_an_installed_font_draws_what_the_own_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any installed font, so that this needs none: here one that has only the private character."""

    class Entry:
        name, fname, style, weight = "Private Sans", "private.ttf", "normal", 400

    class Font:
        def get_char_index(self, code: int) -> int:
            return code == ord(PRIVATE)

    own = font_manager.get_font
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [Entry()])
    monkeypatch.setattr(
        font_manager, "get_font", lambda path: Font() if path == Entry.fname else own(path)
    )
    labels = fonts.labels_of([f"a{PRIVATE}"])
    assert labels.families == (fonts.DEFAULT, "Private Sans")
    assert labels.texts == (f"a{PRIVATE}",)
    assert not labels.notes


@pytest.mark.skipif(fonts.families("歩")[1] != "", reason="no font with Japanese is installed")
def test_japanese_is_drawn_with_a_font_that_has_it() -> None:
    labels = draw(("歩く", "walk"))
    assert labels.texts == ("歩く", "walk")
    assert not labels.notes


def test_control_characters_are_shown_and_long_names_cut() -> None:
    labels = draw(("two\nlines\x1b", "a" * 500))
    assert labels.texts[0] == "two\\nlines\\x1b"
    assert len(labels.texts[1]) == fonts.LONGEST
