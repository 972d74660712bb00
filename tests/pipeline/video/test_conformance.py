"""Every combination of codec, container and fault shows the right pictures, or is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.video.combinations import (
    DOCUMENT,
    EQUAL,
    FOLDER,
    REFUSED,
    Combination,
    combinations,
    documented,
)
from tests.pipeline.video.image_outcomes import outcome_of_images, write_folder
from tests.pipeline.video.outcomes import Files, outcome

ALL = list(combinations())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    return Files(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("combination", ALL, ids=str)
def test_outcome(files: Files, tmp_path: Path, combination: Combination) -> None:
    if combination.container == FOLDER:
        found = outcome_of_images(write_folder(tmp_path / "images", combination.coding))
    else:
        found = outcome(files.path(combination))
    if combination in REFUSED:
        assert REFUSED[combination] in found
    else:
        assert found == EQUAL


def test_each_combination_is_tried_once() -> None:
    assert len(set(ALL)) == len(ALL) >= 250
    assert set(REFUSED) <= set(ALL)


def test_the_documentation_says_what_comes_of_each() -> None:
    text = DOCUMENT.read_text()
    hint = "run python -m tests.pipeline.video.combinations"
    assert documented(text) == text, hint
