"""What tests of builds share."""

from typing import Any

import pytest

from pipeline.build.extract import extractor, statistics
from pipeline.build.extract.histograms import Sampled, Total


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
