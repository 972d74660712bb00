"""The layout of MS-TCN becomes a store: a clip for every segment."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from featstore import InputError
from pipeline.ingest.ingest import prepare_import
from pipeline.ingest.plan import ImportOptions
from tests.builds import silent
from tests.imports import by_id, imported

# Names, labels and files of GTEA, as https://github.com/yabufarha/ms-tcn reads them.
CLASSES = ("take", "open", "pour", "background")
RUNS = (("background", 4), ("take", 6), ("open", 3), ("background", 2))
VIDEOS = ("S1_Cheese_C1", "S1_Tea_C1", "S2_Cheese_C1", "S3_Tea_C1", "S4_Tea_C1")
STEPS, DIM = sum(length for _, length in RUNS), 5
TEST = {1: "S1", 2: "S2"}


def features(video: str) -> np.ndarray:
    seed = VIDEOS.index(video)
    return np.random.default_rng(seed).normal(size=(DIM, STEPS)).astype(np.float32)


def write_gtea(folder: Path) -> Path:
    for name in ("features", "groundTruth", "splits"):
        (folder / name).mkdir(parents=True)
    labels = "".join(f"{label}\n" * length for label, length in RUNS)
    for video in VIDEOS:
        np.save(folder / f"features/{video}.npy", features(video))
        (folder / f"groundTruth/{video}.txt").write_text(labels)
    mapping = [f"{number} {name}\n" for number, name in enumerate(CLASSES)]
    (folder / "mapping.txt").write_text("".join(mapping))
    for split, held_out in TEST.items():
        for part in ("train", "test"):
            lines = [f"{v}.txt\n" for v in VIDEOS if v.startswith(held_out) == (part == "test")]
            (folder / f"splits/{part}.split{split}.bundle").write_text("".join(lines))
    return folder


@pytest.fixture
def gtea(tmp_path: Path) -> Path:
    return write_gtea(tmp_path / "gtea")


def test_segments(gtea: Path) -> None:
    store = imported(gtea, split=1, fps=Fraction(15), subject=r"(S\d)_")
    assert store.title == "gtea split 1"
    assert store.classes == CLASSES
    assert len(store) == len(VIDEOS) * len(RUNS)
    assert set(store.subjects[store.splits == "test"]) == {"S1"}
    assert len(set(store.subjects[store.splits == "val"])) == 1  # MS-TCN has no val
    clips = by_id(store)
    for video in VIDEOS:
        first = 0
        for label, length in RUNS:
            stop = first + length
            clip_id = f"{video}#{first}-{stop}"
            np.testing.assert_array_equal(clips[clip_id], features(video)[:, first:stop].T)
            number = store.clip_ids.tolist().index(clip_id)
            assert store.classes[store.labels[number]] == label
            np.testing.assert_array_equal(store.frames(number), np.arange(first, stop))
            np.testing.assert_array_equal(store.times(number), np.arange(first, stop) / 15)
            first = stop


def test_other_lengths_are_cut_as_in_ms_tcn(gtea: Path) -> None:
    truth = gtea / "groundTruth/S2_Cheese_C1.txt"
    truth.write_text(truth.read_text() + "background\n")
    np.save(gtea / "features/S9_Tea_C1.npy", features(VIDEOS[0]))
    found = prepare_import(ImportOptions(source=gtea, split=2), silent)
    assert found.notes == [
        "skipped: 1 file of features without a split",
        "1 video with more steps than labels, or fewer: cut by at most 1",
    ]
    assert len(found.clips) == len(VIDEOS) * len(RUNS)
    truth.write_text("\n".join(truth.read_text().splitlines()[:-2]))  # no line break at the end
    store = imported(gtea, split=2)
    assert by_id(store)["S2_Cheese_C1#13-14"].shape == (1, DIM)


def test_folds_replace_the_splits(gtea: Path) -> None:
    for bundle in (gtea / "splits").iterdir():
        bundle.unlink()
    store = imported(gtea, folds=4, fold=1, subject=r"(S\d)_")
    assert store.title == "gtea fold 1 of 4"
    assert len(set(store.subjects[store.splits == "train"])) == 2


def test_missing_features_can_be_skipped(gtea: Path) -> None:
    (gtea / "features/S3_Tea_C1.npy").unlink()
    with pytest.raises(InputError, match=r"split1\.bundle row 2: .*C1\.npy does not exist.*1 of 5"):
        imported(gtea, split=1)
    found = prepare_import(ImportOptions(source=gtea, split=1, allow_missing=True), silent)
    assert found.notes == ["skipped: 1 of 5 clips without a file"]


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def put(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "features/S2_Cheese_C1.npy", array)


TRUTH = "groundTruth/S2_Cheese_C1.txt"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "transposed": (put(np.zeros((STEPS, DIM), "f4")), r"shape \(15, 5\), .* 15 labels; transpose"),
    "rate": (put(np.zeros((DIM, 40), "f4")), "15 labels; use features at the rate of the labels"),
    "1-D": (put(np.zeros(DIM, "f4")), r"shape \(1, 5\)"),
    "dim": (put(np.zeros((DIM + 1, STEPS), "f4")), "6 values per step, but"),
    "nan": (put(np.full((DIM, STEPS), np.nan)), r"C1\.npy holds nan at step 0, feature 0"),
    "class": (write(TRUTH, "pourr\n" * STEPS), r'row 1: label "pourr" .*nearest name is "pour"'),
    "empty": (write(TRUTH, ""), r"S2_Cheese_C1\.txt is empty"),
    "no labels": (lambda f: (f / TRUTH).unlink(), r"S2_Cheese_C1\.txt does not exist"),
    "no features": (lambda f: (f / "features").rename(f / "i3d"), "but no features"),
    "in both parts": (
        write("splits/test.split1.bundle", "S2_Cheese_C1.txt\n"),
        "both have S2_Cheese_C1.npy; remove one",
    ),
    "mapping": (write("mapping.txt", "0 take\n0 open\n"), "lists the number 0 twice"),
    "no splits": (lambda f: (f / "splits").rename(f / "x"), "no train.split1.bundle or the like"),
    "empty split": (write("splits/test.split1.bundle", "\n"), "bundle is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_sentences(gtea: Path, case: str) -> None:
    spoil, words = BAD[case]
    spoil(gtea)
    with pytest.raises(InputError, match=words):
        imported(gtea, split=1)
    assert not (gtea.parent / "stores").exists()


def test_split_must_be_one_of_those_there(gtea: Path) -> None:
    with pytest.raises(InputError, match="needs --split N; choose one of 1, 2"):
        imported(gtea)
    with pytest.raises(InputError, match="has no split 7; choose one of 1, 2"):
        imported(gtea, split=7)
    for bundle in (gtea / "splits").glob("*2.bundle"):
        bundle.unlink()
    assert imported(gtea).title == "gtea split 1"
