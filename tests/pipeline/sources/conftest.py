"""Small annotation files, and the place of the real ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.sources import Dataset

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text file under the test's folder, making its parents."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """A folder of real data, or skip: ``real_data("lips")``."""

    def real_data(name: str) -> Path:
        root = os.environ.get("FEATSTORE_TEST_DATA")
        if not root:
            pytest.skip("FEATSTORE_TEST_DATA does not name a folder with real data")
        folder = Path(root) / name
        if not folder.is_dir():
            pytest.skip(f"FEATSTORE_TEST_DATA has no folder {name}")
        return folder

    return real_data


@pytest.fixture
def parts() -> Callable[[Dataset], dict[str, str]]:
    """Part of each clip by its id."""
    return lambda dataset: {clip.clip_id: clip.split for clip in dataset.annotations}


@pytest.fixture
def counts() -> Callable[[Dataset], tuple[int, int, int]]:
    """Number of clips in train, val and test."""

    def counts(dataset: Dataset) -> tuple[int, int, int]:
        found = Counter(clip.split for clip in dataset.annotations)
        return found["train"], found["val"], found["test"]

    return counts
