"""What tests of builds share."""

from typing import Any

import pytest

from pipeline.build.extract import extractor


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
