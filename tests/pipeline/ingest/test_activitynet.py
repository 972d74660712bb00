"""ActivityNet's JSON and a file of features per video become a store: a clip per segment."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featstore import InputError
from pipeline.ingest.ingest import prepare_import
from pipeline.ingest.plan import ImportOptions
from tests.builds import silent
from tests.imports import by_id, imported

DIM, SECONDS = 4, 20.0
# As activity_net.v1-3.min.json: ids without prefix, files with v_, nothing known of testing.
SEGMENTS = {
    "QOlSCBRmfWY": ("training", [([2.0, 9.9], "Windsurfing"), ([12.1, 18.0], "Kayaking")]),
    "ehGHCYKzyZ8": ("training", [([0.0, 20.4], "Kayaking")]),
    "nwznKOuZM7w": ("training", [([5.2, 5.3], "Windsurfing")]),
    "xh72oEyTQeM": ("validation", [([1.0, 4.0], "Kayaking"), ([1.0, 4.0], "Kayaking")]),
    "M0txTSqo9a4": ("validation", [([3.0, 3.0], "Kayaking"), ([0.0, 3.0], "Windsurfing")]),
    "2u-ZZQ2brTM": ("testing", []),
}


def annotations() -> dict[str, Any]:
    database = {
        name: {
            "url": f"https://www.youtube.com/watch?v={name}",
            "duration": SECONDS,
            "resolution": "320x240",
            "subset": subset,
            "annotations": [{"segment": segment, "label": label} for segment, label in segments],
        }
        for name, (subset, segments) in SEGMENTS.items()
    }
    return {"version": "VERSION 1.3", "taxonomy": [], "database": database}


def features(name: str, steps: int = 10) -> np.ndarray:
    seed = list(SEGMENTS).index(name)
    return np.random.default_rng(seed).normal(size=(steps, DIM)).astype(np.float32)


def write_labels(path: Path) -> Path:
    path.write_text(json.dumps(annotations()))
    return path


def write_features(folder: Path) -> Path:
    folder.mkdir()
    for name in SEGMENTS:
        np.save(folder / f"v_{name}.npy", features(name))
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "activity_net.v1-3.min.json")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_features(tmp_path / "tsp")


def test_segments(source: Path, labels: Path) -> None:
    found = prepare_import(ImportOptions(source=source, labels=labels), silent)
    assert found.notes == [
        "skipped: 1 repeated annotation",
        "skipped: 1 annotation without a duration",
        "The subset validation is test: only two subsets have annotations.",
    ]
    store = imported(source, labels)
    assert store.title == "tsp"
    assert store.classes == ("Kayaking", "Windsurfing")
    clips = by_id(store)
    # 10 steps in 20 s: step k is k * 2 s to (k + 1) * 2 s, and its middle decides.
    steps = {
        "QOlSCBRmfWY/0": (1, 5),
        "QOlSCBRmfWY/1": (6, 9),
        "ehGHCYKzyZ8/0": (0, 10),
        "nwznKOuZM7w/0": (2, 3),  # 0.1 s: the step it is in
        "xh72oEyTQeM/0": (0, 2),
        "M0txTSqo9a4/1": (0, 1),
    }
    assert clips.keys() == steps.keys()
    for clip_id, (first, stop) in steps.items():
        number = store.clip_ids.tolist().index(clip_id)
        video = clip_id.partition("/")[0]
        np.testing.assert_array_equal(clips[clip_id], features(video)[first:stop])
        np.testing.assert_array_equal(store.times(number), np.arange(first, stop) * 2.0)
        assert store.videos[number] == video
        assert (store.splits[number] == "test") == (SEGMENTS[video][0] == "validation")


def test_rate_and_stamps_say_when_a_step_is(source: Path, labels: Path) -> None:
    store = imported(source, labels, fps=Fraction(1, 2))
    assert store.key == imported(source, labels).key  # 10 steps at 0.5 per second are 20 s
    np.save(source / "v_QOlSCBRmfWY_timestamps_ms.npy", np.arange(10) * 1500.0)
    store = imported(source, labels, fps=Fraction(1, 2))
    np.testing.assert_array_equal(
        by_id(store)["QOlSCBRmfWY/0"],
        features("QOlSCBRmfWY")[2:7],  # 3.0 to 9.0 s
    )


def test_thumos_trains_on_validation(source: Path, labels: Path) -> None:
    content = annotations()
    for entry in content["database"].values():
        subset = {"training": "Validation", "validation": "Test"}
        entry["subset"] = subset.get(entry["subset"], "Test")
    labels.write_text(json.dumps(content))
    found = prepare_import(ImportOptions(source=source, labels=labels), silent)
    assert "The subset validation is train: only two subsets have annotations." in found.notes
    assert found.attributes()["clips"] == {"train": 2, "val": 2, "test": 2}
    store = imported(source, labels, folds=3, fold=0)
    assert set(store.splits.tolist()) == {"train", "val", "test"}


def test_missing_and_unlisted_files(source: Path, labels: Path) -> None:
    (source / "v_ehGHCYKzyZ8.npy").unlink()
    with pytest.raises(InputError, match=r'"ehGHCYKzyZ8": .*does not exist.*--allow-missing'):
        imported(source, labels)
    np.save(source / "v_ehGHCYKzyZ9.npy", features("ehGHCYKzyZ8"))
    with pytest.raises(InputError, match=r"1 files have no row in .*: ehGHCYKzyZ9"):
        imported(source, labels, allow_missing=True)
    options = ImportOptions(source=source, labels=labels, allow_missing=True, allow_unlisted=True)
    found = prepare_import(options, silent)
    assert "skipped: 1 of 5 clips without a file" in found.notes
    assert "skipped: 1 file without a row" in found.notes


def entry(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["database"]["ehGHCYKzyZ8"].update(changes)


def annotation(**changes: object) -> Callable[[dict[str, Any]], object]:
    return entry(annotations=[{"segment": [1, 2], "label": "Kayaking"} | changes])


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no database": (lambda c: c.pop("database"), 'has no "database"'),
    "a list": (lambda c: c.update(database=[]), '"database" must map every video'),
    "an entry": (lambda c: c["database"].update(x=[]), '"database" must map every video'),
    "no subset": (entry(subset=None), '"database" must map every video'),
    "annotations": (entry(annotations={"label": "a"}), '"database" must map every video'),
    "subset": (entry(subset="dev"), '"ehGHCYKzyZ8": subset "dev" is unknown'),
    "no duration": (entry(duration=None), '"ehGHCYKzyZ8" has no duration.*--fps'),
    "no annotation": (
        lambda c: [v.update(annotations=[]) for v in c["database"].values()],
        "has no annotated segment",
    ),
    "no segment": (annotation(segment=None), "annotation 0 is not .*NoneType"),
    "words": (annotation(segment=["a", "b"]), "annotation 0 is not .*could not convert"),
    "three": (annotation(segment=[1, 2, 3]), "annotation 0 is not .*too many values"),
    "nan": (annotation(segment=[1, float("nan")]), "annotation 0 is not .*nan"),
    "label": (annotation(label=7), "annotation 0 is not .*the label is 7"),
    "no label": (annotation(label=""), "annotation 0 is not .*the label is ''"),
    "negative": (annotation(segment=[-3, -2]), "annotation 0 starts at -3 s; correct"),
    "late": (annotation(segment=[70, 80]), "starts at 70 s, but .*v_ehGH.* end at 20 s"),
    "control": (annotation(label="a\nb"), "holds a line break"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_sentences(source: Path, labels: Path, case: str) -> None:
    spoil, words = BAD[case]
    content = annotations()
    spoil(content)
    labels.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        imported(source, labels)
    assert not (source.parent / "stores").exists()


def test_other_files_are_refused(source: Path, labels: Path) -> None:
    for text, words in (("", "is not ActivityNet's JSON"), ("[]", "expected a JSON object")):
        labels.write_text(text)
        with pytest.raises(InputError, match=words):
            imported(source, labels)
    with pytest.raises(InputError, match="does not exist"):
        imported(source, labels.with_name("other.json"))
    with pytest.raises(InputError, match="is not a folder"):
        imported(source / "v_ehGHCYKzyZ8.npy", labels)
    labels.write_text(json.dumps(annotations()))
    classes = labels.with_name("classes.txt")
    classes.write_text("Kayaking\nArchery\n")
    with pytest.raises(InputError, match='annotation 0: label "Windsurfing" is not in'):
        imported(source, labels, classes=classes)
