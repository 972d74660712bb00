"""Stores whose checksums agree and whose arrays make no sense: refused by name, never read."""

import copy
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import featstore
from featstore import CorruptStoreError, FeatstoreError
from featstore.format.hdf5_format import PAGE, _block_text, _read_block, _rest
from featstore.format.maps import Piece
from featstore.format.opening import open_container
from featstore.format.seal import sealed, sha256, unsealed
from featstore.format.zarr_format import root_text
from featstore.manage.verify import verify
from tests.stores import contents, write_store

Change = Callable[[dict[str, Any]], object]


def reseal(path: Path, attributes: dict[str, Any] | None = None, **files: bytes | None) -> None:
    """Change files of a Zarr store, or its attributes, and seal them again."""
    own = json.loads((path / "zarr.json").read_bytes())["attributes"]
    listed = dict(own["seal"]["files"])
    for name, content in files.items():
        if content is None:
            del listed[name]
            continue
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
        listed[name] = sha256(content)
    new = unsealed(own) if attributes is None else attributes
    (path / "zarr.json").write_bytes(root_text(sealed(new, listed)))


def edit(path: Path, name: str, change: Change) -> None:
    """Change the metadata of an array, and seal them again."""
    file = f"{name}/zarr.json"
    metadata = json.loads((path / file).read_bytes())
    change(metadata)
    reseal(path, **{file: json.dumps(metadata).encode()})


def put(path: Path, name: str, values: np.ndarray) -> None:
    """Change the numbers of a column, and seal them again."""
    reseal(path, **{f"{name}/c/0": values.tobytes()})


def refuse(path: Path) -> None:
    """Check that opening and verifying say that the store makes no sense."""
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStoreError, match=r"s\.(zarr|h5)"):
            featstore.open(path)
        assert [finding for finding in verify(path) if not finding.foreign]
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_store(tmp_path / "s.zarr")


CLIPS = 5
COLUMNS = {
    "negative label": ("label", np.full(CLIPS, -2, "<i4")),
    "label without a name": ("label", np.full(CLIPS, 3, "<i4")),
    "subject without a name": ("subject", np.full(CLIPS, 99, "<i4")),
    "video without a name": ("video", np.full(CLIPS, 1, "<i4")),
    "part without a name": ("split", np.full(CLIPS, -3, "<i1")),
    "too many rows": ("row_size", np.full(CLIPS, 10**11, "<i8")),
    "rows that overflow": ("row_size", np.full(CLIPS, 2**62, "<i8")),
    "negative rows": ("row_size", np.array([20, -4, 0, 0, 0], "<i8")),
    "too few rows": ("row_size", np.full(CLIPS, 1, "<i8")),
    "a short column": ("row_size", np.zeros(3, "<i8")),
    "a long column": ("start", np.zeros(9, "<i8")),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_senseless_columns_are_refused(path: Path, case: str) -> None:
    put(path, *COLUMNS[case])
    refuse(path)


def of_grid(size: object) -> Change:
    return lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=size)


METADATA: dict[str, tuple[str, Change]] = {
    "no fill value": ("frame", lambda m: m.pop("fill_value")),
    "chunks of nothing": ("row_size", of_grid([0])),
    "chunks of text": ("row_size", of_grid(["5"])),
    "chunks of two dimensions": ("row_size", of_grid([5, 5])),
    "a huge column": ("frame", lambda m: m.update(shape=[10**13])),
    "a huge column in one chunk": (
        "frame",
        lambda m: (m.update(shape=[10**13]), of_grid([10**13])(m)),
    ),
    "a huge column of names": (
        "clip_id",
        lambda m: (m.update(shape=[10**13]), of_grid([10**13])(m)),
    ),
    "a negative shape": ("frame", lambda m: m.update(shape=[-1])),
    "a shape of none": ("frame", lambda m: m.update(shape=[])),
    "a true shape": ("frame", lambda m: m.update(shape=[True])),
    "another dtype": ("label", lambda m: m.update(data_type="float64")),
    "the other end first": (
        "start",
        lambda m: m["codecs"][0]["configuration"].update(endian="big"),
    ),
    "another codec": ("label", lambda m: m["codecs"].append({"name": "zstd"})),
    "no codec": ("label", lambda m: m.update(codecs=[])),
    "other names of chunks": ("label", lambda m: m["chunk_key_encoding"].update(name="v2")),
    "a group": ("label", lambda m: m.update(node_type="group")),
    "a list": ("label", lambda m: m.update(chunk_grid=[])),
    "features of other chunks": ("features", of_grid([7, 4])),
    "features of half rows": ("features", of_grid([5, 2])),
    "features in one chunk": ("features", of_grid([10**12, 4])),
    "huge features": ("features", lambda m: m.update(shape=[10**13, 4])),
    "wide features": ("features", lambda m: (m.update(shape=[16, 10**9]), of_grid([5, 10**9])(m))),
    "flat features": ("features", lambda m: m.update(shape=[16])),
    "features the other end first": (
        "features",
        lambda m: m["codecs"][0]["configuration"].update(endian="big"),
    ),
}


@pytest.mark.parametrize("case", METADATA)
def test_senseless_metadata_are_refused(path: Path, case: str) -> None:
    edit(path, *METADATA[case])
    if case == "wide features":  # chunks that are too short are found where they are read
        with pytest.raises(CorruptStoreError):
            featstore.open(path)[0]
        return
    refuse(path)


ATTRIBUTES: dict[str, Change] = {
    "no key": lambda a: a.pop("key"),
    "a key that is a path": lambda a: a.update(key="../../x"),
    "no title": lambda a: a.pop("title"),
    "half a character": lambda a: a.update(title="\ud800"),
    "clips that are no counts": lambda a: a.update(clips={"train": "2"}),
    "clips in a list": lambda a: a.update(clips=[1]),
    "other rows": lambda a: a.update(steps=10**12),
    "statistics without a mean": lambda a: a.update(statistics={"origin": "split", "std": []}),
    "failed clips in a list": lambda a: a.update(failed=["a"]),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_senseless_attributes_are_refused(path: Path, case: str) -> None:
    own = unsealed(json.loads((path / "zarr.json").read_bytes())["attributes"])
    ATTRIBUTES[case](own)
    reseal(path, own)
    with pytest.raises(CorruptStoreError, match=r"s\.zarr"):
        featstore.open(path)


@pytest.mark.parametrize("name", ["../private", "/etc/hostname", "other/zarr.json", "label/c/1"])
def test_a_seal_of_other_files_is_refused(path: Path, name: str) -> None:
    own = json.loads((path / "zarr.json").read_bytes())["attributes"]
    files = {**own["seal"]["files"], name: "0" * 64}
    (path / "zarr.json").write_bytes(root_text(sealed(unsealed(own), files)))
    refuse(path)


def test_a_seal_that_lacks_a_chunk_is_refused(path: Path) -> None:
    reseal(path, **{"features/c/1/0": None})
    refuse(path)


@pytest.mark.parametrize("seal", [None, {}, {"files": []}, {"files": {"a": 1}}])
def test_a_seal_without_files_is_refused(path: Path, seal: object) -> None:
    from featstore.keys import digest

    own = json.loads((path / "zarr.json").read_bytes())["attributes"]
    own = {**unsealed(own), "seal": seal}
    (path / "zarr.json").write_bytes(root_text({**own, "seal_sha256": digest(own)}))
    with pytest.raises(CorruptStoreError, match="seal"):
        featstore.open(path)


@pytest.mark.parametrize("text", [b"[" * 10**6, b'{"attributes": ' * 10**5, b"1" * 5000])
def test_metadata_that_nest_without_end_are_refused(path: Path, text: bytes) -> None:
    (path / "zarr.json").write_bytes(text)
    with pytest.raises(CorruptStoreError, match="not the metadata"):
        featstore.open(path)
    write_store(path.with_name("t.zarr"))
    reseal(path.with_name("t.zarr"), **{"label/zarr.json": text})
    with pytest.raises(CorruptStoreError, match=r"label/zarr\.json"):
        featstore.open(path.with_name("t.zarr"))


def test_large_files_are_not_read(path: Path) -> None:
    for name in ("zarr.json", "label/zarr.json", "frame/c/0"):
        other = write_store(path.with_name(f"{name.replace('/', '-')}.zarr"))
        with (other / name).open("r+b") as stream:
            stream.truncate(2**40)  # a hole
        with pytest.raises(CorruptStoreError, match="more than"):
            featstore.open(other)


def mutations(value: Any) -> list[Any]:
    """Return what a JSON value may become."""
    return [None, -1, 0, 10**12, 2**70, 1.5, True, "x", "\u0000", [], {}, [value], {"x": value}]


def test_any_change_of_metadata_is_refused_or_harmless(path: Path) -> None:
    rng = np.random.default_rng(0)
    expected = featstore.open(path)
    for name in ("features", "label", "clip_id", "frame"):
        original = json.loads((path / name / "zarr.json").read_bytes())
        for _ in range(40):
            metadata = copy.deepcopy(original)
            place = metadata
            while True:
                key = list(place)[rng.integers(len(place))] if isinstance(place, dict) else 0
                inner = place[key]
                if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
                    break
                place = inner
            options = mutations(inner)
            place[key] = options[rng.integers(len(options))]
            reseal(path, **{f"{name}/zarr.json": json.dumps(metadata).encode()})
            try:
                store = featstore.open(path)
                same = np.array_equal(store[1], expected[1])
            except FeatstoreError:
                continue
            assert same, metadata
            assert store.clip_ids.tolist() == expected.clip_ids.tolist(), metadata
        reseal(path, **{f"{name}/zarr.json": json.dumps(original).encode()})


def reseal_hdf5(path: Path) -> None:
    """Seal an HDF5 store again, whatever was done to it."""
    attributes, size = _read_block(path)
    with h5py.File(path, "r") as file:
        rows = attributes["seal"]["chunk"][0]
        count = len(attributes["seal"]["files"])
        infos = [file["features"].id.get_chunk_info_by_coord((n * rows, 0)) for n in range(count)]
    pieces = [Piece(path, info.byte_offset, info.size) for info in infos]
    seal = {name: attributes["seal"][name] for name in ("dtype", "chunk")}
    rest = _rest(path, size, pieces)
    new = sealed(unsealed(attributes), attributes["seal"]["files"], rest=rest, **seal)
    with path.open("r+b") as stream:
        stream.write(_block_text(new, size))


def external(file: h5py.File, private: Path) -> None:
    del file["frame"]
    file.create_dataset("frame", (16,), "<i8", external=[(str(private), 0, 128)])


def virtual(file: h5py.File, private: Path) -> None:
    del file["frame"]
    layout = h5py.VirtualLayout((16,), "<i8")
    layout[:] = h5py.VirtualSource(str(private), "x", (16,))
    file.create_virtual_dataset("frame", layout)


def external_link(file: h5py.File, private: Path) -> None:
    del file["frame"]
    file["frame"] = h5py.ExternalLink(str(private), "x")


def soft_link(file: h5py.File, private: Path) -> None:
    del file["start"]
    file["start"] = h5py.SoftLink("/stop")


def compressed(file: h5py.File, private: Path) -> None:
    del file["frame"]
    file.create_dataset("frame", (2**40,), "<i8", chunks=(2**20,), compression="gzip")


def never_written(file: h5py.File, private: Path) -> None:
    del file["frame"]
    file.create_dataset("frame", (2**40,), "<i8")


def group(file: h5py.File, private: Path) -> None:
    del file["frame"]
    file.create_group("frame")


def missing(file: h5py.File, private: Path) -> None:
    del file["frame"]


def another_dtype(file: h5py.File, private: Path) -> None:
    del file["label"]
    file.create_dataset("label", data=np.zeros(5, "<f8"))


def negative_rows(file: h5py.File, private: Path) -> None:
    file["row_size"][...] = [20, -4, 0, 0, 0]


def nameless(file: h5py.File, private: Path) -> None:
    file["subject"][...] = 99


@pytest.mark.parametrize(
    "change",
    [
        external,
        virtual,
        external_link,
        soft_link,
        compressed,
        never_written,
        group,
        missing,
        another_dtype,
        negative_rows,
        nameless,
    ],
    ids=lambda change: change.__name__,
)
def test_a_senseless_hdf5_file_is_refused(tmp_path: Path, change) -> None:
    path, private = write_store(tmp_path / "s.h5"), tmp_path / "private"
    with h5py.File(private, "w") as file:
        file["x"] = np.arange(16)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        change(file, private)
    reseal_hdf5(path)
    refuse(path)


def test_sealing_again_changes_nothing(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.h5")
    before = path.read_bytes()
    reseal_hdf5(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("block", [0, 512, PAGE])
def test_a_large_foreign_hdf5_file_is_hardly_read(tmp_path: Path, block: int, monkeypatch) -> None:
    path = tmp_path / "others.h5"
    with h5py.File(path, "w", userblock_size=block) as file:
        file.create_dataset("x", (2**40,), "u1")[-1] = 1  # a hole
    tracemalloc.start()
    try:
        with pytest.raises(featstore.StoreNotFoundError):
            open_container(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_foreign_file_is_named_and_does_no_harm(path: Path) -> None:
    (path / ".DS_Store").write_bytes(b"\0")
    (finding,) = verify(path)
    assert finding.foreign
    assert finding.name == ".DS_Store"
    (path / "label/c/0").write_bytes(b"")
    assert [finding.foreign for finding in verify(path)] == [False, True]


def test_names_that_take_too_much_memory_are_refused(tmp_path: Path, monkeypatch) -> None:
    from featstore.format import validate

    made = contents()
    path = write_store(tmp_path / "s.zarr", made)
    monkeypatch.setattr(validate, "MOST_NAME_BYTES", 64)
    with pytest.raises(CorruptStoreError, match="names of up to"):
        featstore.open(path)
