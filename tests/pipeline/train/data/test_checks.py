import shutil
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.errors import CorruptStoreError, InputError
from featstore.keys import digest
from pipeline.train.data import checks
from pipeline.train.data.checks import checked_parts, concerns, other_store
from pipeline.train.recipes.load import load_recipe
from tests.fakes import FakeStore, ordered_store
from tests.stores import contents, write_store
from tests.views import LENGTHS, write_view

RECIPE = load_recipe("baseline")


def test_parts_are_the_usable_clips() -> None:
    store = ordered_store(20, status=[1] + [0] * 19)
    parts = checked_parts(store, RECIPE)
    assert parts["train"].tolist() == list(range(1, 12))
    assert sum(map(len, parts.values())) == 19


def test_number_of_classes_that_disagrees_names_both() -> None:
    with pytest.raises(InputError, match=r"head\.num_classes is 5,.*2"):
        checked_parts(ordered_store(20), load_recipe("baseline", ["head.num_classes=5"]))
    checked_parts(ordered_store(20), load_recipe("baseline", ["head.num_classes=2"]))


def test_number_of_classes_is_the_stores_not_the_largest_label() -> None:
    store = ordered_store(20, classes=("a", "b", "c"))  # no clip is a c
    checked_parts(store, load_recipe("baseline", ["head.num_classes=3"]))


def test_shared_subject_is_refused_by_name() -> None:
    store = ordered_store(20)
    store.subjects[store.splits == "val"] = "train1"
    with pytest.raises(InputError, match=r"train1 \(train, val\)"):
        checked_parts(store, RECIPE)


def test_shared_video_is_refused_where_subjects_are_not_known() -> None:
    store = ordered_store(20, subjects=None)
    checked_parts(store, RECIPE)
    store.videos[[0, 19]] = "film"
    with pytest.raises(InputError, match=r": film \(test, train\)"):
        checked_parts(store, RECIPE)


def test_known_subjects_may_share_a_video() -> None:
    store = ordered_store(20)
    store.videos[:] = "film"
    checked_parts(store, RECIPE)


def test_shared_video_of_any_store_is_refused(tmp_path: Path) -> None:
    def view(name: str, videos: list[int]) -> featstore.Store:
        path, lengths = tmp_path / f"{name}.zarr", LENGTHS[: len(videos)]
        return write_view(path, lengths=lengths, videos=videos, subjects_known=False)

    one, two = view("one", [0, 1, 2, 0, 1]), view("two", [0, 0, 0, 0, 0])
    checked_parts(one, RECIPE)
    message = r"two\.zarr has videos in more than one part: two0 \(test, train, val\)"
    for stores in ([two, one], [one, two]):
        with pytest.raises(InputError, match=message):
            checked_parts(featstore.fuse(stores), RECIPE)
    three = view("three", [0, 1, 2, 0, 0])  # in two parts by its last clip, which a store lacks
    four = view("four", [0, 1, 2, 3])
    checked_parts(featstore.fuse([four, three], allow_missing=True), RECIPE)
    with pytest.raises(InputError, match=r"three0 \(train, val\)"):
        checked_parts(featstore.fuse([one, three]), RECIPE)


@pytest.mark.parametrize("part", ["train", "val"])
def test_empty_parts_are_refused(part: str) -> None:
    store = ordered_store(20)
    store.splits[store.splits == part] = "test"
    store.subjects_known = False
    with pytest.raises(InputError, match=rf"usable {part} clips \(0 in all\)"):
        checked_parts(store, RECIPE)
    failed = ordered_store(20)
    failed.status[failed.splits == part] = 2
    with pytest.raises(InputError, match=rf"usable {part} clips"):
        checked_parts(failed, RECIPE)


def test_empty_test_part_is_allowed() -> None:
    store = ordered_store(20)
    store.splits[store.splits == "test"] = "val"
    assert isinstance(store, FakeStore)
    assert not len(checked_parts(store, RECIPE)["test"])


@pytest.mark.parametrize("clips", [11, 13])
def test_statistics_of_other_clips_than_train_are_refused(clips: int) -> None:
    measured = {"origin": "split", "mean": [0.5], "std": [0.2], "clips": clips}
    with pytest.raises(InputError, match=rf"{clips} clips,.*12"):
        checked_parts(ordered_store(20, statistics=measured), RECIPE)


def test_statistics_may_lack_clips_that_failed() -> None:
    for clips in (11, 12):  # a video that cannot be read is not measured, a lost frame's clip is
        measured = {"origin": "split", "mean": [0.5], "std": [0.2], "clips": clips}
        checked_parts(ordered_store(20, status=[1] + [0] * 19, statistics=measured), RECIPE)


def test_clips_that_repeat_training_clips_are_named() -> None:
    store = ordered_store(150, dim=32)
    assert concerns(store, checked_parts(store, RECIPE), RECIPE) == []
    repeated = {"test": (store.split("test")[3], 0), "val": (store.split("val")[5], 8)}
    for clip, twin in repeated.values():
        first, size = store.offsets[clip], store.row_size[clip]
        store.rows.array[first : first + size] = store[int(twin)].mean(axis=0)
    (sentence,) = concerns(store, checked_parts(store, RECIPE), RECIPE)
    assert sentence.startswith("1 of val, 1 of test clips are nearly the same as a training clip")
    pairs = {
        f"{store.clip_ids[clip]} of {part} and {store.clip_ids[twin]} of train"
        for part, (clip, twin) in repeated.items()
    }
    assert sum(pair in sentence for pair in pairs) == 1


def test_clips_of_test_that_repeat_a_val_clip_are_named() -> None:
    store = ordered_store(150, dim=32)
    clip, twin = int(store.split("test")[3]), int(store.split("val")[5])
    store[clip][:] = store[twin].mean(axis=0)
    (sentence,) = concerns(store, checked_parts(store, RECIPE), RECIPE)
    assert sentence.startswith("1 of test clip is nearly the same as a val clip")
    pair = f"{store.clip_ids[clip]} of test and {store.clip_ids[twin]} of val"
    assert sentence.endswith(
        f"such as {pair}: val chooses the epoch, so their scores may be too high."
    )


def test_clips_of_a_single_step_are_named_where_each_is_standardised_by_itself() -> None:
    recipe = load_recipe("baseline", ["data.standardise=clip"])
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(n, 32)) for n in (3, 1, 4, 1, 2)]
    parts = ["train", "train", "val", "test", "test"]
    store = FakeStore(clips, [0, 1, 0, 1, 0], parts, status=[0, 0, 0, 0, 1])
    (sentence,) = concerns(store, checked_parts(store, recipe), recipe)
    assert sentence.startswith("2 of 4 clips have a single step")
    assert concerns(store, checked_parts(store, RECIPE), RECIPE) == []
    single = FakeStore([clip[:1] for clip in clips], [0, 1, 0, 1, 0], parts)
    with pytest.raises(InputError, match=r"step.*data\.standardise"):
        checked_parts(single, recipe)
    checked_parts(single, RECIPE)


@pytest.mark.parametrize("limit", ["MOST_CLIPS", "MOST_BYTES"])
def test_large_stores_are_not_searched_for_repetitions(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, limit, 149)
    store = ordered_store(150)
    (sentence,) = concerns(store, checked_parts(store, RECIPE), RECIPE)
    assert "skipped: 150 clips" in sentence


def other_split(folder: Path, *, origin: str, shift: int, mean: float) -> featstore.Store:
    """Five clips of one video, of which those of train depend on `shift`."""
    statistics = {"origin": origin, "mean": [mean], "std": [0.2], "clips": 2}
    statistics |= {"frames": 2, "pixels": 2}
    made = contents(statistics=statistics, title=f"split {shift}", key=digest([shift, origin]))
    made.columns["split"] = (np.arange(5) + shift) % 3
    return featstore.open(write_store(folder / f"{origin}{shift}.zarr", made))


def test_fixed_statistics_of_another_split_are_noticed(tmp_path: Path) -> None:
    other_split(tmp_path, origin="split", shift=1, mean=0.43217)
    fixed = other_split(tmp_path, origin="fixed", shift=0, mean=0.4322)
    (sentence,) = concerns(fixed, checked_parts_of(fixed), RECIPE)
    assert "the mean and std of split 1" in sentence
    assert "include 1 val or test clips" in sentence
    # Its own training clips have the same statistics: nothing was looked at that should not be.
    other_split(tmp_path, origin="split", shift=0, mean=0.43217)
    assert concerns(fixed, checked_parts_of(fixed), RECIPE) == []


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_neighbour_does_not_stop_training(tmp_path: Path, damage: str) -> None:
    other_split(tmp_path, origin="split", shift=1, mean=0.43217)
    fixed = other_split(tmp_path, origin="fixed", shift=0, mean=0.4322)
    (sentence,) = concerns(fixed, checked_parts_of(fixed), RECIPE)
    damaged = Path(shutil.copytree(tmp_path / "split1.zarr", tmp_path / "split0.zarr"))
    for path in (path for path in (damaged / "split").rglob("c/*") if path.is_file()):
        if damage == "changed":
            path.write_bytes(bytes(path.stat().st_size))
        else:
            path.unlink()
    with pytest.raises(CorruptStoreError):
        featstore.open(damaged)
    assert concerns(fixed, checked_parts_of(fixed), RECIPE) == [sentence]


def test_fixed_statistics_of_nobody_are_no_concern(tmp_path: Path) -> None:
    other_split(tmp_path, origin="split", shift=1, mean=0.5)
    fixed = other_split(tmp_path, origin="fixed", shift=0, mean=0.4322)
    assert concerns(fixed, checked_parts_of(fixed), RECIPE) == []


def checked_parts_of(store: featstore.Store) -> dict[str, np.ndarray]:
    return {part: store.split(part) for part in ("train", "val", "test")}


def test_a_baseline_of_another_store_is_said() -> None:
    store = ordered_store(20)
    assert other_store(None, store) == other_store({"store_key": store.key}, store) == []
    (line,) = other_store({"store_key": "beef" * 16, "name": "plain"}, store)
    assert "plain uses another store, beefbeefbeef" in line
