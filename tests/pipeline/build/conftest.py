"""What tests of builds share."""

from pathlib import Path
from typing import Any

import pytest

from featstore.format import layout
from pipeline.build.extract import extractor, statistics
from pipeline.build.extract.histograms import Sampled, Total
from tests.builds import write_dataset


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call decoded."""
    counts: list[int] = []
    decode_all = extractor.decode_all

    def counted(path: Any, index: Any, numbers: Any, *more: Any) -> Any:
        counts.append(len(numbers))
        return decode_all(path, index, numbers, *more)

    monkeypatch.setattr(extractor, "decode_all", counted)
    return counts


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call decoded for statistics."""
    counts: list[int] = []
    total = statistics.total

    def counting(work: Sampled) -> Total:
        counts.append(len(work.frames))
        return total(work)

    monkeypatch.setattr(statistics, "total", counting)
    return counts


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of few rows."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 8 * 4 * 512)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of a few clips."""
    return write_dataset(tmp_path_factory.mktemp("data"))
