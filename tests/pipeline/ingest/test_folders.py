"""Class folders become a store: one file per clip, or one file per step."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from featstore import InputError
from pipeline.ingest.ingest import prepare_import
from pipeline.ingest.plan import ImportOptions
from tests.builds import silent
from tests.imports import by_id, imported, write_labels

SIGNS, SEQUENCES, FRAMES = ("hello", "thanks"), 5, 12


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Keypoints as the tutorial "Action Detection for Sign Language" saves them: float64."""
    rng = np.random.default_rng(0)
    for sign in SIGNS:
        for sequence in range(SEQUENCES):
            folder = tmp_path / "MP_Data" / sign / str(sequence)
            folder.mkdir(parents=True)
            for frame in range(FRAMES):
                keypoints = rng.normal(size=6).astype(np.float32).astype(np.float64)
                np.save(folder / str(frame), keypoints)
    return tmp_path / "MP_Data"


def test_one_file_a_step(recorded: Path) -> None:
    (recorded / "hello/5").mkdir()  # the tutorial makes the folders before it records
    options = ImportOptions(source=recorded, folds=5, fold=0, fps=Fraction(15))
    found = prepare_import(options, silent)
    assert found.notes == ["Skipped, empty: hello/5."]
    store = imported(recorded, folds=5, fold=0, fps=Fraction(15))
    assert store.title == "MP_Data fold 0 of 5"
    assert store.classes == SIGNS
    assert len(store) == len(SIGNS) * SEQUENCES
    assert not store.subjects_known
    # Each class is in each part: one sequence in test, one in val, and the others in train.
    for label in range(len(SIGNS)):
        parts = store.splits[store.labels == label].tolist()
        assert sorted(parts) == ["test", "train", "train", "train", "val"]
    for clip_id, found_steps in by_id(store).items():
        steps = [np.load(recorded / clip_id / f"{frame}.npy") for frame in range(FRAMES)]
        np.testing.assert_array_equal(found_steps, np.stack(steps))  # 10 comes after 9
    np.testing.assert_array_equal(store.frames(0), np.arange(FRAMES))
    np.testing.assert_array_equal(store.times(0), np.arange(FRAMES) / 15)
    # One file per clip with the same values has the same content.
    for folder in sorted(path for path in recorded.glob("*/*") if any(path.iterdir())):
        steps = [np.load(folder / f"{frame}.npy") for frame in range(FRAMES)]
        for frame in range(FRAMES):
            (folder / f"{frame}.npy").unlink()
        np.save(f"{folder}.npy", np.stack(steps))
    assert imported(recorded, folds=5, fold=0, fps=Fraction(15)).key == store.key


def test_parts_and_subjects_in_names(recorded: Path) -> None:
    for part, sequences in {"train": (0, 1, 2), "val": (3,), "test": (4,)}.items():
        for sign in SIGNS:
            (recorded / part / sign).mkdir(parents=True)
            for number in sequences:
                name = f"p{number}_frames"
                (recorded / sign / str(number)).rename(recorded / part / sign / name)
    for sign in SIGNS:
        (recorded / sign).rmdir()
    store = imported(recorded, subject=r"p(\d)_")
    assert store.subjects_known
    assert dict(zip(store.clip_ids, store.splits, strict=True))["test/hello/p4_frames"] == "test"
    assert set(store.subjects) == set("01234")


def test_rows_may_name_folders_of_steps(tmp_path: Path, recorded: Path) -> None:
    rows = [
        {
            "file": f"{sign}/{n}",
            "label": sign,
            "split": ("train", "train", "val", "test", "test")[n],
        }
        for sign in SIGNS
        for n in range(SEQUENCES)
    ]
    store = imported(recorded, write_labels(tmp_path / "l.csv", rows))
    assert len(store) == len(rows)
    steps = [np.load(recorded / f"hello/3/{frame}.npy") for frame in range(FRAMES)]
    np.testing.assert_array_equal(by_id(store)["hello/3"], np.stack(steps))


def test_gaps_are_said(recorded: Path) -> None:
    (recorded / "thanks/1/4.npy").unlink()
    found = prepare_import(ImportOptions(source=recorded, folds=3, fold=0), silent)
    assert found.notes == ["Step numbers have gaps in 1 clip: thanks/1."]
    clip = next(clip for clip in found.clips if clip.annotation.clip_id == "thanks/1")
    assert clip.frame.tolist() == [n for n in range(FRAMES) if n != 4]
    assert (clip.start, clip.stop) == (0, FRAMES)


def put(array: np.ndarray, name: str = "hello/2/3.npy") -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "dim": (put(np.zeros(5)), r"hello/2/3\.npy holds 5 values of float64, but 0\.npy holds 6"),
    "dtype": (put(np.zeros(6, "f4")), "holds 6 values of float32, but .* 6 of float64"),
    "2-D": (put(np.zeros((2, 3))), r"shape \(2, 3\); a step is \(dim,\)"),
    "nothing": (put(np.zeros(0)), r"shape \(0,\); a step"),
    "integers": (put(np.zeros(6, int)), "holds int64"),
    "nan": (put(np.full(6, np.nan)), r"MP_Data/hello/2/3\.npy holds nan at step 0, feature 0"),
    "no number": (put(np.zeros(6), "hello/2/mean.npy"), r"mean\.npy has no number in its name"),
    "same number": (put(np.zeros(6), "hello/2/f03.npy"), "are both step 3"),
    "cut": (lambda f: (f / "hello/2/3.npy").write_bytes(b""), "cannot be read as .npy"),
    "other dim": (put(np.zeros((4, 5)), "hello/x.npy"), r"x\.npy has 5 values per step"),
    "text": (
        lambda f: [p.rename(p.with_suffix(".txt")) for p in (f / "hello/2").iterdir()],
        r"hello/2 has no \.npy file",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_steps_are_refused(recorded: Path, case: str) -> None:
    spoil, words = BAD[case]
    spoil(recorded)
    with pytest.raises(InputError, match=words):
        imported(recorded, folds=5, fold=0)
    assert not (recorded.parent / "stores").exists()


def test_other_folders_are_refused(tmp_path: Path, recorded: Path) -> None:
    (tmp_path / "empty/hello").mkdir(parents=True)
    for source, more, words in (
        (recorded, {}, "no folders train, val and test; pass --folds"),
        (recorded / "hello/0", {"folds": 3, "fold": 0}, "has no class folders; pass --labels"),
        (tmp_path / "empty", {"folds": 3, "fold": 0}, "holds no clip as CLASS/NAME.npy"),
        (tmp_path / "none", {}, "does not exist"),
        (recorded / "hello/0/0.npy", {}, "has no labels; pass --labels"),
        (recorded, {"split": 1}, "--split is 1, but only MS-TCN"),
        (recorded, {"suffix": "rgb"}, "there is no --labels"),
        (recorded, {"folds": 3}, "belong together"),
        (recorded, {"folds": 30, "fold": 0}, "at least 30 subjects, but there are 10"),
        (recorded, {"folds": 3, "fold": 0, "subject": "x"}, "0 groups"),
    ):
        with pytest.raises(InputError, match=words):
            imported(source, **more)
