import pytest

from featstore.errors import InputError
from pipeline.checks import checked_parts
from pipeline.config import load_recipe
from tests.fakes import FakeStore, ordered_store

RECIPE = load_recipe("baseline")


def test_parts_are_the_usable_clips() -> None:
    store = ordered_store(20, status=[1] + [0] * 19)
    parts = checked_parts(store, RECIPE)
    assert parts["train"].tolist() == list(range(1, 12))
    assert sum(map(len, parts.values())) == 19


def test_number_of_classes_that_disagrees_names_both() -> None:
    with pytest.raises(InputError, match=r"head\.num_classes is 5, .* has 2"):
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
    with pytest.raises(InputError, match=r"videos in .*: film \(test, train\)"):
        checked_parts(store, RECIPE)


def test_known_subjects_may_share_a_video() -> None:
    store = ordered_store(20)
    store.videos[:] = "film"
    checked_parts(store, RECIPE)


@pytest.mark.parametrize("part", ["train", "val"])
def test_empty_parts_are_refused(part: str) -> None:
    store = ordered_store(20)
    store.splits[store.splits == part] = "test"
    store.subjects_known = False
    with pytest.raises(InputError, match=rf"no usable {part} clips \(0 in all\)"):
        checked_parts(store, RECIPE)
    failed = ordered_store(20)
    failed.status[failed.splits == part] = 2
    with pytest.raises(InputError, match=rf"no usable {part} clips"):
        checked_parts(failed, RECIPE)


def test_empty_test_part_is_allowed() -> None:
    store = ordered_store(20)
    store.splits[store.splits == "test"] = "val"
    assert isinstance(store, FakeStore)
    assert not len(checked_parts(store, RECIPE)["test"])
