from collections.abc import Iterator

import pytest

from pipeline.build.extract import extractor as extract
from tests.drawing import figures


@pytest.fixture(scope="module", autouse=True)
def without_figures() -> Iterator[None]:
    """Draw no figures but where a test says ``figures(drawn=True)``."""
    with figures(drawn=False):
        yield


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """How many rows of each unit were computed, as builds go on."""
    seen: list[int] = []
    plain = extract.rows_of_unit

    def counted(unit, features):
        rows = plain(unit, features)
        seen.append(len(rows.rows))
        return rows

    monkeypatch.setattr(extract, "rows_of_unit", counted)
    return seen
