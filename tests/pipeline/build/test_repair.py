import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import featstore
from featstore import InputError, Store
from featstore.format import layout
from featstore.manage.verify import verify
from pipeline.cli import main
from tests.builds import build, options_of, write_dataset

UNIT_ROWS = 8


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 512 * UNIT_ROWS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("set") / "data")


def bytes_of(store: Path) -> dict[str, bytes]:
    files = [store] if store.is_file() else [p for p in store.rglob("*") if p.is_file()]
    return {path.relative_to(store.parent).as_posix(): path.read_bytes() for path in files}


def repaired(data: Path, root: Path, **more: Any) -> tuple[Store, list[str]]:
    lines: list[str] = []
    return build(options_of(data, root, repair=True, **more), lines.append), lines


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": (lambda store: flip(store / "features/c/1/0", 100), ["features/c/1/0"], 8),
    "truncated": (
        lambda store: (store / "features/c/3/0").write_bytes(bytes(100)), ["features/c/3/0"], 8,
    ),
    "missing": (lambda store: (store / "features/c/8/0").unlink(), ["features/c/8/0"], 2),
    "added": (lambda store: (store / "features/c/77").write_text("x"), ["features/c/77"], 0),
    "small file": (lambda store: flip(store / "label/c/0", 3), ["label/c/0"], 0),
    "root": (
        lambda store: (store / "zarr.json").write_text(
            (store / "zarr.json").read_text().replace('"zarr_format"', '"x": 1, "zarr_format"')
        ),
        ["zarr.json"],
        0,
    ),
    "two chunks": (
        lambda store: [flip(store / f"features/c/{n}/0", 9) for n in (0, 2)],
        ["features/c/0/0", "features/c/2/0"],
        16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_mended_alone(tmp_path, data, damage: str, computed) -> None:
    harm, names, rows = DAMAGES[damage]
    store = build(options_of(data, tmp_path))
    before = bytes_of(store.path)
    assert list(verify(store.path)) == []
    computed.clear()
    harm(store.path)
    assert [finding.name for finding in verify(store.path)] == names
    mended, lines = repaired(data, tmp_path)
    assert sum(computed) == rows
    assert bytes_of(mended.path) == before
    assert all(any(line.startswith(name) for line in lines) for name in names)
    superseded = tmp_path / f".{store.path.name}.superseded"
    assert bytes_of(superseded).values() != before.values()
    assert repaired(data, tmp_path)[1] == [f"{store.path} is intact: nothing to repair"]


def test_damage_is_named_by_clip_and_video(tmp_path, data) -> None:
    store = build(options_of(data, tmp_path))
    flip(store.path / "features/c/3/0", 0)  # rows 24 to 32
    [finding] = verify(store.path)
    assert (finding.clips, finding.videos) == (["train#0-10"], ["train.mp4"])
    assert str(finding) == "features/c/3/0 was changed: clip train#0-10 of video train.mp4"


@pytest.mark.parametrize("where", ["chunk", "column", "block", "end"])
def test_hdf5(tmp_path, data, where: str, computed) -> None:
    store = build(options_of(data, tmp_path, format="hdf5"))
    before = bytes_of(store.path)
    [*_, last] = pieces = store.container.pieces() or []
    place = {
        "chunk": pieces[2].offset + 5,
        "column": before[store.path.name].index(b"train#0-10"),
        "block": 300,
        "end": last.offset,
    }[where]
    computed.clear()
    if where == "end":
        with store.path.open("r+b") as stream:
            stream.truncate(place)
    else:
        flip(store.path, place)
    if where == "block":
        with pytest.raises(featstore.CorruptStoreError, match="--repair"):
            list(verify(store.path))
    else:
        assert [f.name for f in verify(store.path)] == {
            "chunk": ["chunk 2 of the features"],
            "column": ["the file outside of the features"],
            "end": ["the file"],
        }[where]
    with pytest.raises(featstore.CorruptStoreError):
        featstore.open(store.path, check=True)[-1], featstore.open(store.path, check=True)[0]
    mended, _ = repaired(data, tmp_path, format="hdf5")
    assert sum(computed) == {"chunk": 8, "column": 0}.get(where, len(mended.columns["frame"]))
    assert bytes_of(mended.path) == before


def test_a_reader_keeps_the_old_generation(tmp_path, data) -> None:
    store = build(options_of(data, tmp_path))
    expected = [np.array(clip) for clip in store]
    flip(store.path / "label/c/0", 3)
    repaired(data, tmp_path)
    for clip, kept in zip(store, expected, strict=True):
        np.testing.assert_array_equal(clip, kept)
    assert CliRunner().invoke(main, ["gc", "--stores", str(tmp_path)]).exit_code == 0
    assert not list(tmp_path.glob(".*.superseded"))
    np.testing.assert_array_equal(store[0], expected[0])


def test_other_numerics_are_not_mixed_unasked(tmp_path, data, monkeypatch) -> None:
    store = build(options_of(data, tmp_path))
    (store.path / "features/c/0/0").unlink()
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX77")
    with pytest.raises(InputError, match=r"cpu_capability: \w+ -> AVX77.*--allow-mixed-numerics"):
        repaired(data, tmp_path)
    mended, _ = repaired(data, tmp_path, allow_mixed_numerics=True)
    assert mended.attributes["mixed_numerics"]
    assert mended.attributes["numerics"] == store.attributes["numerics"]
    assert list(verify(mended.path)) == []


@pytest.mark.parametrize("compression", ["zstd", "blosc"])
def test_a_compressed_store_stays_one(tmp_path, data, compression: str, computed) -> None:
    store = build(options_of(data, tmp_path, compression=compression))
    before = bytes_of(store.path)
    (store.path / "features/c/0/0").unlink()
    computed.clear()
    mended, _ = repaired(data, tmp_path)
    assert sum(computed) == UNIT_ROWS
    assert bytes_of(mended.path) == before


def test_without_a_store_it_is_a_build(tmp_path, data) -> None:
    assert len(repaired(data, tmp_path)[0]) == 5


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_verify_says_so_by_exit_code(tmp_path, data) -> None:
    store = build(options_of(data, tmp_path))
    result = run("verify", store.key[:8], "--stores", tmp_path)
    assert (result.exit_code, result.stdout) == (0, f"{store.path} is whole\n")
    flip(store.path / "features/c/3/0", 0)
    result = run("verify", store.path)
    assert result.exit_code == 1
    assert "clip train#0-10 of video train.mp4" in result.stdout
    assert "--repair" in result.stdout
    flip(store.path / "zarr.json", 400)
    result = run("verify", store.path)
    assert result.exit_code == 2
    shutil.rmtree(store.path)
    assert run("verify", store.path).exit_code == 2
