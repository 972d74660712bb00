import numpy as np
import pytest

from featstore.format.layout import CHUNK_BYTES, Layout, default_chunk_rows


@pytest.mark.parametrize("chunk_rows", [1, 4, 5, 9, 10, 100])
def test_units_are_whole_chunks_and_cover_every_row_once(chunk_rows: int) -> None:
    layout = Layout(np.array([3, 4, 2]), 8, chunk_rows)
    units = layout.units()
    assert [row for first, last in units for row in range(first, last)] == list(range(9))
    assert all(first % chunk_rows == 0 for first, _ in units)
    assert all(last % chunk_rows == 0 for _, last in units[:-1])


def test_offsets() -> None:
    layout = Layout(np.array([3, 4, 2]), 8, 5)
    assert layout.offsets.tolist() == [0, 3, 7, 9]
    assert layout.steps == 9


@pytest.mark.parametrize("dim", [1, 440, 512, 1280, 2048, 10**8])
def test_default_chunks_are_at_most_the_size_asked_for(dim: int) -> None:
    rows = default_chunk_rows(dim, 10**9)
    assert rows == 1 or rows * dim * 4 <= CHUNK_BYTES < 2 * rows * dim * 4
    assert default_chunk_rows(dim, 1) == 1
