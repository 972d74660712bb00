from pathlib import Path
from typing import Any

import pytest

from featstore.errors import InputError
from pipeline.build.plan.augmented_view import SIDES, TONE, AugmentedView, Change
from pipeline.build.plan.options import BuildOptions
from pipeline.build.plan.request import build_options, each_view

CLIPS = [("ab12", start, start + 30) for start in range(200)]


def changes(view: AugmentedView) -> list[Change]:
    return [view.change(*clip) for clip in CLIPS]


def test_draws_cover_their_ranges_and_differ() -> None:
    some = changes(AugmentedView(1))
    assert {change.side for change in some} == set(SIDES)
    for name in ("brightness", "contrast"):
        values = [getattr(change, name) for change in some]
        assert 1 - TONE <= min(values) < 1 - 0.8 * TONE
        assert 1 + 0.8 * TONE < max(values) <= 1 + TONE
    for name in ("top", "left"):
        values = [getattr(change, name) for change in some]
        assert 0 <= min(values) < 0.1
        assert 0.9 < max(values) <= 1
    assert len(set(some)) == len(CLIPS)
    assert not set(some) & set(changes(AugmentedView(2)))
    assert some == changes(AugmentedView(1))
    assert AugmentedView(1).change("cd34", 0, 30) != some[0]


def test_only_asked_for_flips_change_a_view() -> None:
    plain, flipped = changes(AugmentedView(1)), changes(AugmentedView(1, flip=True))
    assert not any(change.flip for change in plain)
    assert 0.4 < sum(change.flip for change in flipped) / len(CLIPS) < 0.6
    for one, other in zip(plain, flipped, strict=True):
        assert (one.side, one.top, one.contrast) == (other.side, other.top, other.contrast)


@pytest.mark.parametrize("views", [0, -3, 2.5])
def test_a_number_that_is_none_is_one_sentence(views: Any) -> None:
    with pytest.raises(InputError, match=rf"--views is {views}; it must be (1|a whole number)"):
        each_view(views)


def test_flips_need_a_view() -> None:
    with pytest.raises(InputError, match="pass --views 2"):
        each_view(None, flip=True)
    with pytest.raises(InputError, match="give view_number"):
        BuildOptions(source=None, view_flip=True)


def test_another_store_decides_its_view(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--like run decides the view; leave out --views"):
        each_view(2, like="run")
    with pytest.raises(InputError, match="--view-number"):
        build_options({"source": "table", "data": Path("x.csv"), "view_number": 1, "like": "run"})
