import gc
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from featstore.format.maps import Piece, can_map, map_pieces
from tests.limits import run_with_few_files

PAGE = mmap.PAGESIZE


def content(pages: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(pages * PAGE)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files of 1, 2 and 3 pages."""
    paths = [tmp_path / str(number) for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(content(number + 1, number))
    return paths


def whole(paths: list[Path]) -> list[Piece]:
    return [Piece(path, 0, path.stat().st_size) for path in paths]


def maps_of(path: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(path))


def test_pieces_lie_side_by_side(files) -> None:
    array = map_pieces(whole(files))
    assert array.dtype == np.uint8
    assert array.tobytes() == b"".join(path.read_bytes() for path in files)


def test_pieces_are_ranges_in_the_order_given(files) -> None:
    pieces = [Piece(files[2], PAGE, PAGE), Piece(files[0], 0, PAGE), Piece(files[2], 2 * PAGE, 100)]
    assert can_map(pieces)
    expected = content(3, 2)[PAGE : 2 * PAGE] + content(1, 0) + content(3, 2)[2 * PAGE :][:100]
    assert map_pieces(pieces).tobytes() == expected


def test_only_whole_pages_can_lie_side_by_side(files) -> None:
    first, second, third = whole(files)
    assert can_map([first, second, third._replace(length=PAGE + 1)])
    assert not can_map([first, second._replace(length=PAGE + 1), third])
    assert not can_map([first._replace(offset=1, length=PAGE)])


def test_the_array_is_read_only(files) -> None:
    array = map_pieces(whole(files))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    view = array.view(np.float32).reshape(-1, 4)[3:]
    assert not view.flags.writeable


def test_a_view_outlives_the_array_and_the_files(files) -> None:
    array = map_pieces(whole(files))
    view = array[PAGE : 3 * PAGE].view(np.float32).reshape(-1, 8)[5:9]
    del array
    for path in files:
        path.unlink()
    gc.collect()
    assert view.tobytes() == content(2, 1)[5 * 32 : 9 * 32]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_maps_end_with_the_last_view(files) -> None:
    array = map_pieces(whole(files))
    view = array[10:20].view(np.uint8)
    assert maps_of(files[1]) == 1
    del array
    gc.collect()
    assert maps_of(files[1]) == 1
    del view
    gc.collect()
    assert [maps_of(path) for path in files] == [0, 0, 0]


def test_a_truncated_file_is_named(files) -> None:
    pieces = whole(files)
    os.truncate(files[1], PAGE)
    with pytest.raises(ValueError, match=rf"{files[1]}.*shorter.*{2 * PAGE}"):
        map_pieces(pieces)


def test_a_missing_file_is_named(files) -> None:
    pieces = whole(files)
    files[1].unlink()
    with pytest.raises(FileNotFoundError) as caught:
        map_pieces(pieces)
    assert Path(caught.value.filename) == files[1]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_a_failure_leaves_no_map(files) -> None:
    pieces = whole(files)
    os.truncate(files[2], PAGE)
    with pytest.raises(ValueError, match="shorter"):
        map_pieces(pieces)
    gc.collect()
    assert [maps_of(path) for path in files] == [0, 0, 0]


def test_no_descriptor_is_kept(tmp_path) -> None:
    (tmp_path / "one").write_bytes(content(1))
    code = f"""
from pathlib import Path
from featstore.format.maps import Piece, map_pieces
piece = Piece(Path({str(tmp_path / "one")!r}), 0, {PAGE})
kept = [map_pieces([piece, piece]) for _ in range(300)]
print(sum(int(array[0]) + int(array[{PAGE}]) for array in kept))
"""
    assert int(run_with_few_files(64, code)) == 600 * content(1)[0]


def test_maps_may_be_read_until_the_process_ends(tmp_path) -> None:
    (tmp_path / "one").write_bytes(content(1))
    # What was registered before the map runs after it, at exit.
    code = f"""
import atexit
atexit.register(lambda: print(kept[0]))
from pathlib import Path
from featstore.format.maps import Piece, map_pieces
kept = map_pieces([Piece(Path({str(tmp_path / "one")!r}), 0, {PAGE})])
"""
    assert int(run_with_few_files(64, code)) == content(1)[0]


@pytest.mark.parametrize(
    ("suffix", "codec", "chunk_rows"),
    [
        (".zarr", "none", 256),
        (".zarr", "zstd", 256),
        (".zarr", "none", 5),
        (".h5", "none", 256),
        (".h5", "none", 5),
    ],
)
def test_a_store_of_600_chunks_streams_with_few_files(
    tmp_path, suffix: str, codec: str, chunk_rows: int
) -> None:
    from featstore.format.codecs import Codec
    from tests.stores import contents, write_store

    sizes = [chunk_rows] * 600
    made = contents(sizes, chunk_rows=chunk_rows, codec=Codec(compression=codec))
    path = write_store(tmp_path / f"s{suffix}", made)
    code = f"""
import featstore
store = featstore.open({str(path)!r})
print(type(store.rows).__name__)
print(len(store.layout.units()))
print(sum(len(batch.clips) for batch in store.stream(64, 0)))
print(sum(len(clip) for clip in store))
"""
    kind = "MappedRows" if chunk_rows == 256 and codec == "none" else "DecodedRows"
    expected = [kind, "600", "600", str(600 * chunk_rows)]
    assert run_with_few_files(80, code).split() == expected
