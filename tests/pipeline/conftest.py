import pytest

from pipeline.build.extract import extractor as extract


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """How many rows of each unit were computed, as builds go on."""
    seen: list[int] = []
    plain = extract._rows

    def counted(unit, features):
        rows = plain(unit, features)
        seen.append(len(rows.rows))
        return rows

    monkeypatch.setattr(extract, "_rows", counted)
    return seen
