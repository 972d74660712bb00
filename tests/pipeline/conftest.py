import pytest

from pipeline.extract import Extractor


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """How many rows of each unit were computed, as builds go on."""
    seen: list[int] = []
    plain = Extractor._unit

    def counted(self, unit, blocks, tick):
        rows = plain(self, unit, blocks, tick)
        seen.append(len(rows.rows))
        return rows

    monkeypatch.setattr(Extractor, "_unit", counted)
    return seen
