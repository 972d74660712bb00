import csv
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore import InputError, Store
from featstore.exchange import npy_arrays
from featstore.exchange.export import codec_for, export
from featstore.exchange.npy_folder import DESCRIPTION
from featstore.format import schema
from featstore.keys import store_key
from pipeline.ingest import content as clip_content
from pipeline.ingest.ingest import import_store, prepare_import
from pipeline.ingest.plan import ImportOptions
from tests.builds import silent
from tests.stores import contents, write_store

DIM = 3
FORMULA = ("=", "+", "-", "@", "\t")  # to a spreadsheet
PARTS = {"a": "train", "b": "train", "c": "val", "d": "test"}
ROWS = [{"clip_id": name, "label": f"is {name}", "split": part} for name, part in PARTS.items()]


def clips(dtype: str = "float32") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(n + 2, DIM)).astype(dtype) for n, name in enumerate(PARTS)}


def save(folder: Path, arrays: dict[str, np.ndarray], suffix: str = "") -> Path:
    for name, array in arrays.items():
        path = folder / f"{name}{suffix}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    return folder


def write_labels(path: Path, rows: list[dict]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def imported(source: Path, labels: Path, **more) -> Store:
    options = ImportOptions(source=source, labels=labels, store=source.parent / "stores", **more)
    found = prepare_import(options, silent)
    import_store(found, silent)
    return featstore.open(found.path)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.csv", ROWS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(tmp_path / "source", clips())


def by_id(store: Store) -> dict[str, np.ndarray]:
    return {str(name): store[i] for i, name in enumerate(store.clip_ids)}


def test_folder_becomes_a_store(source: Path, labels: Path) -> None:
    store = imported(source, labels, fps=Fraction(4))
    for name, found in by_id(store).items():
        np.testing.assert_array_equal(found, clips()[name])
    assert store.splits.tolist() == list(PARTS.values())
    assert store.classes == ("is a", "is b", "is c", "is d")
    assert not store.subjects_known
    assert store.subjects.tolist() == store.videos.tolist() == list(PARTS)
    assert store.title == "source"
    np.testing.assert_array_equal(store.times(1), [0, 0.25, 0.5])
    np.testing.assert_array_equal(store.frames(1), [0, 1, 2])
    assert store.attributes["clips"] == {"train": 2, "val": 1, "test": 1}
    recomputed = store_key(
        store.attributes["features"], store.classes, store.clip_keys(), subjects_known=False
    )
    assert recomputed == store.key


@pytest.mark.parametrize("names", ["é/ü", 'a/b/c,"d"\n e ', "  ", "=1+1", "-", "'=1", "'a", "@\tx"])
@pytest.mark.parametrize("form", ["zarr", "hdf5"])
def test_round_trip_by_npy_is_exact(tmp_path: Path, names: str, form: str) -> None:
    sizes = [3, 4, 1, 6, 1, 1]
    made = contents(sizes, chunk_rows=4)
    made = replace(made, columns=made.columns | {
        "clip_id": np.array([f"{names}{i}" for i in range(6)]),
        "video_name": np.array([f"{names}v.mp4"]),
        "subject_name": np.array([f"ann{names}", "bob", "cid "]),
        "label_name": np.array(["9", f"walk{names}", "never"]),
        "time": np.where(np.arange(16) % 5 == 0, np.nan, np.arange(16) / 7),
    })  # fmt: skip
    store = featstore.open(write_store(tmp_path / "a.zarr", made))
    folder = tmp_path / "out"
    export(store, folder, "npy", codec_for(store, "npy", None, None))
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as stream:
        assert not any(cell.startswith(FORMULA) for row in csv.reader(stream) for cell in row)
    again = imported(folder, folder / "clips.csv", format=form)
    assert again.path.suffix == {"zarr": ".zarr", "hdf5": ".h5"}[form]
    assert again.classes == store.classes
    for name in ("clip_ids", "labels", "subjects", "videos", "splits", "start", "stop", "status"):
        np.testing.assert_array_equal(getattr(again, name), getattr(store, name))
    for name in ("row_size", "frame", "time", "split_name", "subject_name"):
        np.testing.assert_array_equal(again.columns[name], store.columns[name])
    assert again.rows.span(0, 16).tobytes() == store.rows.span(0, 16).tobytes()
    assert again.title == store.title
    second = tmp_path / "out2"
    export(again, second, "npy", codec_for(again, "npy", None, None))
    assert imported(second, second / "clips.csv", format=form).key == again.key


@pytest.mark.parametrize("name", ["'=1", "plain"])
def test_exports_of_before_are_read_as_they_were(tmp_path: Path, name: str) -> None:
    """They escaped nothing, so an apostrophe there is one of the name."""
    made = contents(chunk_rows=4)
    made = replace(made, columns=made.columns | {"label_name": np.array(["sit", name, "never"])})
    store = featstore.open(write_store(tmp_path / "a.zarr", made))
    export(store, tmp_path / "out", "npy", codec_for(store, "npy", None, None))
    table, described = (tmp_path / "out" / file for file in ("clips.csv", "store.json"))
    table.write_text(table.read_text("utf-8").replace("''=1", "'=1"), "utf-8")
    described.write_text(
        described.read_text("utf-8").replace('"featstore_export": 2', '"featstore_export": 1')
    )
    assert '"featstore_export": 1' in described.read_text("utf-8")
    assert imported(tmp_path / "out", table).classes == store.classes


@pytest.mark.parametrize("title", [None, 3, []])
def test_a_description_without_a_title_is_a_sentence(tmp_path: Path, title: object) -> None:
    store, folder = featstore.open(write_store(tmp_path / "a.zarr")), tmp_path / "out"
    export(store, folder, "npy", codec_for(store, "npy", None, None))
    described = json.loads((folder / DESCRIPTION).read_bytes())
    del described["attributes"]["title"]
    if title is not None:
        described["attributes"]["title"] = title
    (folder / DESCRIPTION).write_text(json.dumps(described))
    with pytest.raises(InputError, match=DESCRIPTION):
        imported(folder, folder / "clips.csv")


def test_round_trip_keeps_float16_failed_clips_and_unknown_subjects(tmp_path: Path) -> None:
    arrays = {name: array.astype("float16") for name, array in clips().items()}
    arrays["d"][:] = np.nan
    rows = [row | {"status": int(row["clip_id"] == "d")} for row in ROWS]
    labels = write_labels(tmp_path / "labels.csv", rows)
    store = imported(save(tmp_path / "source", arrays), labels)
    assert store.dtype == "float16"
    assert store.status.tolist() == [0, 0, 0, schema.STATUS_FAILED]
    export(store, tmp_path / "out", "npy", codec_for(store, "npy", None, None))
    again = imported(tmp_path / "out", tmp_path / "out/clips.csv")
    assert (again.key, again.path) == (store.key, store.path)


def test_one_array_is_in_the_order_of_the_rows(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, DIM)).astype(np.float32)
    np.save(tmp_path / "all.npy", array)
    rows = [{"label": "x", "split": part, "steps": 2 + i} for i, part in enumerate(PARTS.values())]
    store = imported(tmp_path / "all.npy", write_labels(tmp_path / "labels.csv", rows))
    assert store.title == "all"
    assert store.clip_ids.tolist() == ["0", "1", "2", "3"]
    for number in range(4):
        np.testing.assert_array_equal(store[number], array[number, : 2 + number])
    np.save(tmp_path / "all.npy", array[:, 0])
    rows = [{"label": "x", "split": part, "clip_id": part + name} for name, part in PARTS.items()]
    store = imported(tmp_path / "all.npy", write_labels(tmp_path / "labels.csv", rows))
    assert store.row_size.tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(by_id(store)["valc"][0], array[2, 0])


def test_video_features_folder(tmp_path: Path, labels: Path) -> None:
    folder = tmp_path / "resnet"
    save(folder, {name: np.array(own.tolist()) for name, own in clips().items()}, "_resnet")
    save(folder, {name: np.array(25.0) for name in PARTS}, "_fps")
    times = {name: np.arange(len(own)) * 40.0 for name, own in clips().items()}
    save(folder, times, "_timestamps_ms")
    (folder / "._a_resnet.npy").write_bytes(b"of macOS")
    found = prepare_import(ImportOptions(source=folder, labels=labels), silent)
    assert found.notes == []  # their float64 holds float32
    store = imported(folder, labels)
    np.testing.assert_array_equal(by_id(store)["d"], clips()["d"])
    np.testing.assert_array_equal(store.times(3), np.arange(5) * 40 / 1000)
    # The same numbers as float32 are the same content.
    save(folder, clips(), "_resnet")
    assert imported(folder, labels).key == store.key
    files = [{"file": f"{row['clip_id']}_resnet.npy", **row, "clip_id": 2 * row["clip_id"]}
             for row in ROWS]  # fmt: skip
    named = imported(folder, write_labels(tmp_path / "files.csv", files))
    assert named.clip_ids.tolist() == ["aa", "bb", "cc", "dd"]
    np.testing.assert_array_equal(named.columns["time"], store.columns["time"])


@pytest.mark.parametrize("column", ["clip_id", "video", "file"])
def test_rows_may_name_videos_or_whole_paths(tmp_path: Path, source: Path, column: str) -> None:
    name = {"file": f"{source.absolute()}/{{}}.npy"}.get(column, "{}.mp4")
    rows = [
        {column: name.format(row["clip_id"]), "label": "x", "split": row["split"]} for row in ROWS
    ]
    store = imported(source, write_labels(tmp_path / "l.csv", rows))
    assert store.clip_ids.tolist() == list(PARTS)
    np.testing.assert_array_equal(store[3], clips()["d"])


def test_files_may_have_the_ending_of_their_video(tmp_path: Path) -> None:
    source = save(tmp_path / "source", clips(), ".mp4")
    rows = [row | {"clip_id": f"{row['clip_id']}.mp4"} for row in ROWS]
    store = imported(source, write_labels(tmp_path / "l.csv", rows))
    assert store.clip_ids.tolist() == [f"{name}.mp4" for name in PARTS]


def test_vector_is_one_step(source: Path, labels: Path) -> None:
    np.save(source / "b.npy", np.arange(DIM, dtype=">f4"))
    assert by_id(imported(source, labels))["b"].tolist() == [[0, 1, 2]]


def test_array_in_fortran_order_is_read_by_steps(source: Path, labels: Path) -> None:
    np.save(source / "b.npy", np.asfortranarray(clips()["b"]))
    np.testing.assert_array_equal(by_id(imported(source, labels))["b"], clips()["b"])


def test_store_inside_a_store_is_refused(source: Path, labels: Path) -> None:
    path = imported(source, labels).path
    with pytest.raises(InputError, match="pass its parent folder"):
        ImportOptions(source=source, labels=labels, store=Path(path))


def test_two_streams_need_a_choice(tmp_path: Path, labels: Path) -> None:
    flow = {name: -array for name, array in clips().items()}
    folder = save(save(tmp_path / "i3d", clips(), "_rgb"), flow, "_flow")
    with pytest.raises(InputError, match=r"2 files.*clip \(flow, rgb\);.*--suffix"):
        imported(folder, labels)
    store = imported(folder, labels, suffix="flow")
    np.testing.assert_array_equal(by_id(store)["a"], flow["a"])


def test_rounding_of_float64_is_said(tmp_path: Path, labels: Path) -> None:
    folder = save(tmp_path / "source", clips() | {"a": clips("float64")["a"]})
    found = prepare_import(ImportOptions(source=folder, labels=labels), silent)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("float64 of 1 clips is rounded to float32: by at most ")


def test_content_and_labels_decide_the_key_and_places_do_not(
    tmp_path: Path, source: Path, labels: Path
) -> None:
    def key(**more) -> str:
        options = ImportOptions(**{"source": source, "labels": labels} | more)
        return prepare_import(options, silent).key

    first = key()
    moved = save(tmp_path / "elsewhere/deep", clips())
    reordered = write_labels(tmp_path / "r.csv", [row | {"note": 1} for row in ROWS[::-1]])
    assert key(source=moved, labels=reordered, name="other", format="hdf5") == first
    others = [key(dtype="float16"), key(fps=Fraction(2))]
    renamed = [row | {"label": row["label"].replace("is d", "is c")} for row in ROWS]
    others.append(key(labels=write_labels(tmp_path / "l.csv", renamed)))
    changed = clips()
    changed["b"][1, 2] = np.nextafter(changed["b"][1, 2], np.float32(9))
    others.append(key(source=save(tmp_path / "changed", changed)))
    assert len({first, *others}) == 5


def test_interval_spreads_the_frames(tmp_path: Path, source: Path) -> None:
    rows = [row | {"start": 100, "stop": 110, "video": f"v{i}"} for i, row in enumerate(ROWS)]
    store = imported(source, write_labels(tmp_path / "l.csv", rows))
    assert store.frames(3).tolist() == [100, 102, 104, 106, 108]
    assert (store.start[0], store.stop[0], store.videos[0]) == (100, 110, "v0")


def with_array(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "b.npy", array)


def at(place: tuple[int, int], value: float, dtype: str = "float32") -> Callable[[Path], None]:
    array = clips(dtype)["b"]
    array[place] = value
    return with_array(array)


def write_object(folder: Path) -> None:
    np.save(folder / "b.npy", np.array([{"a": 1}, None], object), allow_pickle=True)


def write_npz(folder: Path) -> None:
    np.savez(folder / "b.npz", a=1)
    (folder / "b.npz").rename(folder / "b.npy")


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: (f / "b.npy").unlink(), r"row 3: .*b\.npy does not exist.*1 of 4"),
    "unlisted": (lambda f: np.save(f / "z.npy", clips()["a"]), r"1 files have no row in .*: z;"),
    "dim": (with_array(np.zeros((2, 7), "f4")), r"b\.npy has 7 values per step, but 3 of 4"),
    "4-D": (with_array(np.zeros((2, 2, 3, 3), "f4")), r"shape \(2, 2, 3, 3\)"),
    "0-D": (with_array(np.float32(3)), r"shape \(\)"),
    "int": (with_array(np.zeros((2, 3), int)), "holds int64; features must be float16"),
    "empty": (with_array(np.array([])), "has no steps"),
    "no steps": (with_array(np.zeros((0, 3))), "has no steps"),
    "nan": (at((1, 2), np.nan), r"row 3: .*b\.npy holds nan at step 1, feature 2"),
    "inf": (at((0, 1), -np.inf), "holds -inf at step 0, feature 1"),
    "large": (at((2, 0), 1e300, "float64"), r"holds 1e\+300 at step 2.*float32 holds at most"),
    "object": (write_object, "pickled"),
    "pickle": (lambda f: (f / "b.npy").write_bytes(pickle.dumps([1])), "pickled"),
    "cut": (lambda f: (f / "b.npy").write_bytes((f / "a.npy").read_bytes()[:-1]), "cannot be read"),
    "nothing": (lambda f: (f / "b.npy").write_bytes(b""), "cannot be read"),
    "npz": (write_npz, "is an archive"),
    "times": (
        lambda f: np.save(f / "b_timestamps_ms.npy", np.zeros(9)),
        r"b_timestamps_ms\.npy has shape \(9,\).* 3 steps",
    ),
    **{
        f"times {name}": (
            lambda f, times=times: np.save(f / "b_timestamps_ms.npy", np.array(times)),
            rf"b_timestamps_ms\.npy holds {words}.* at step {step};",
        )
        for name, times, words, step in [
            ("back", [0, 40, 20], "20 after 40", 2),
            ("zeros at the end", [0.0, 40.0, 0.0], "0 after 40", 2),
            ("zeros", [0, 0, 0], "0 after 0", 2),
            ("nan", [0, 40, np.nan], "nan after 40", 2),
            ("nan first", [np.nan, 40, 80], "nan", 0),
            ("infinite", [0, np.inf, 80], "inf after 0", 1),
        ]
    },
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_before_anything_is_written(
    source: Path, labels: Path, case: str
) -> None:
    spoil, words = BAD_FILES[case]
    spoil(source)
    with pytest.raises(InputError, match=words):
        imported(source, labels)
    assert not (source.parent / "stores").exists()


BAD_ROWS: dict[str, tuple[list[dict], str]] = {
    "id twice": ([*ROWS[:3], ROWS[0] | {"split": "test"}], "both have a.npy"),
    "split": ([*ROWS[:3], ROWS[3] | {"split": "dev"}], 'row 5: part "dev" is unknown'),
    "subject": ([row | {"subject": "me"} for row in ROWS], "subjects in more than one part"),
    "video": ([row | {"video": "v"} for row in ROWS], "videos in more than one part"),
    "no train": ([row | {"split": "test"} for row in ROWS], "train has no clips"),
    "no split": ([{"clip_id": "a", "label": "x"}], 'has no column "split"'),
    "no id": ([{"label": "x", "split": "train"}], "add a column file, clip_id or video"),
    "end": (
        [row | {"start": 1, "stop": 9, "end": 9} for row in ROWS],
        'columns "stop" and "end"',
    ),
    "only start": ([row | {"start": 1} for row in ROWS], 'no column "stop"'),
    "interval": ([row | {"start": 9, "stop": 9} for row in ROWS], "is not before end"),
    "steps": ([row | {"steps": 9} for row in ROWS], r"row 2: steps is 9, .*a\.npy has 2"),
    "status": ([row | {"status": 7} for row in ROWS], "status is 7"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_are_refused(tmp_path: Path, source: Path, case: str) -> None:
    rows, words = BAD_ROWS[case]
    with pytest.raises(InputError, match=words):
        imported(source, write_labels(tmp_path / "l.csv", rows))
    assert not (tmp_path / "stores").exists()


def test_class_list_must_have_every_label(tmp_path: Path, source: Path, labels: Path) -> None:
    (tmp_path / "classes.txt").write_text("is d\nis c\nnever\nis b\n")
    with pytest.raises(InputError, match=r'label "is a" is not in .*classes\.txt'):
        imported(source, labels, classes=tmp_path / "classes.txt")
    (tmp_path / "classes.txt").write_text("is d\nis c\nnever\nis b\nis a\n")
    store = imported(source, labels, classes=tmp_path / "classes.txt")
    assert store.classes == ("is d", "is c", "never", "is b", "is a")
    assert store.labels.tolist() == [4, 3, 1, 0]


def test_other_sources_are_refused(tmp_path: Path, source: Path, labels: Path) -> None:
    for path, words in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, None),
        (labels, "cannot be read|pickled Python objects"),
        (source / "a.npy", "holds 2 clips, .* has 4 rows"),
    ):
        with pytest.raises(InputError, match=words or "does not exist"):
            imported(path, labels)
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles/a.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(InputError, match="on_extraction=save_numpy"):
        imported(tmp_path / "pickles", labels)


def test_unlisted_files_can_be_left_out(source: Path, labels: Path) -> None:
    np.save(source / "z.npy", np.zeros(1))
    options = ImportOptions(source=source, labels=labels, allow_unlisted=True)
    found = prepare_import(options, silent)
    assert (len(found.clips), found.notes) == (4, ["skipped: 1 files without a row"])


def test_file_that_changes_meanwhile_leaves_no_store(source: Path, labels: Path) -> None:
    options = ImportOptions(source=source, labels=labels, store=source.parent / "stores")
    found = prepare_import(options, silent)
    np.save(source / "c.npy", np.zeros((40, DIM), np.float32))
    with pytest.raises(InputError, match=r"c\.npy.*changed"):
        import_store(found, silent)
    assert not [p for p in options.store.iterdir() if p.suffix != ".lock"]


def test_float16_is_what_an_export_of_float32_makes(source: Path, labels: Path) -> None:
    whole, half = imported(source, labels), imported(source, labels, dtype="float16")
    dest = source.parent / "half.zarr"
    export(whole, dest, "zarr", codec_for(whole, "zarr", "float16", None))
    files = [
        {p.relative_to(root): p.read_bytes() for p in Path(root).rglob("*") if p.is_file()}
        for root in (dest, half.path)
    ]
    assert files[0] == files[1]


def test_float16_that_overflows_leaves_no_store(source: Path, labels: Path) -> None:
    np.save(source / "c.npy", np.full((4, DIM), 1e6, np.float32))
    with pytest.raises(InputError, match="A feature is 1e\\+06, but float16 holds at most 65504"):
        imported(source, labels, dtype="float16")
    assert not [p for p in (source.parent / "stores").iterdir() if p.suffix != ".lock"]


def test_long_clips_are_read_block_by_block(
    source: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = imported(source, labels)
    sizes: list[int] = []
    monkeypatch.setattr(npy_arrays, "BLOCK_BYTES", 8 * DIM * 2)
    rounded = clip_content._rounded
    monkeypatch.setattr(
        clip_content, "_rounded", lambda block, own: sizes.append(len(block)) or rounded(block, own)
    )
    options = ImportOptions(source=source, labels=labels, store=source.parent / "again")
    found = prepare_import(options, silent)
    import_store(found, silent)
    assert max(sizes) == 2
    assert found.key == whole.key
    store = featstore.open(found.path)
    np.testing.assert_array_equal(store.rows.span(0, 14), whole.rows.span(0, 14))
