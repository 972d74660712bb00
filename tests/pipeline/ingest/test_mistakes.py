"""What an import refuses, before anything is written."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featstore import InputError
from pipeline.ingest.plan import ImportOptions
from tests.imports import ROWS, by_id, clips, imported, save, write_labels


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
