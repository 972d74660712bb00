from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sources.assemble import (
    Fold,
    assemble,
    assign_folds,
    chosen_fold,
    fold_parts,
    part_name,
)
from pipeline.sources.base import Split
from pipeline.sources.draft import Draft
from pipeline.sources.labels import ClassList


def draft(number: int, label: str, split: Split | None, subject: str | None) -> Draft:
    return Draft(
        clip_id=f"c{number}",
        video=f"{subject}-{number}.mp4",
        path=Path(f"{subject}-{number}.mp4"),
        label=label,
        where=f"row {number}",
        subject=subject,
        split=split,
    )


@pytest.fixture
def drafts() -> list[Draft]:
    return [
        draft(1, "a", "train", "ann"),
        draft(2, "b", "train", "ann"),
        draft(3, "a", "val", "bob"),
        draft(4, "b", "test", "cid"),
    ]


def test_classes_are_sorted_and_notes_empty(drafts: list[Draft]) -> None:
    drafts[0], drafts[1] = drafts[1], drafts[0]
    dataset = assemble(drafts, title="t")
    assert (dataset.classes, dataset.notes, dataset.subjects_known) == (("a", "b"), (), True)


def test_integer_labels_are_sorted_by_value(drafts: list[Draft]) -> None:
    numbers = {"a": "10", "b": "9"}
    found = assemble([replace(clip, label=numbers[clip.label]) for clip in drafts], title="t")
    assert found.classes == ("9", "10")


def test_a_class_list_keeps_its_order_and_its_classes_without_clips(drafts: list[Draft]) -> None:
    classes = ClassList(("z", "b", "a"), {}, "list")
    dataset = assemble(drafts, title="t", classes=classes)
    assert dataset.classes == ("z", "b", "a")
    assert dataset.notes == ("Classes without training clips: z.",)


def test_a_label_outside_of_the_class_list(drafts: list[Draft]) -> None:
    with pytest.raises(InputError, match=r'row 2: label "b" is not in list; .* "bb"'):
        assemble(drafts, title="t", classes=ClassList(("a", "bb"), {}, "list"))


def test_labels_of_one_part_only_are_a_note(drafts: list[Draft]) -> None:
    more = [draft(5, "c", "train", "ann"), draft(6, "d", "test", "cid")]
    assert assemble([*drafts, *more], title="t").notes == (
        "Classes without training clips: d.",
        "Labels found in train only: c.",
        "Labels found in test only: d.",
    )


def test_a_shared_subject_is_refused_by_name(drafts: list[Draft]) -> None:
    with pytest.raises(InputError, match=r"ann \(train, test\)"):
        assemble([*drafts, draft(5, "a", "test", "ann")], title="t")


def test_without_subjects_a_shared_video_is_refused(drafts: list[Draft]) -> None:
    unknown = [replace(clip, subject=None) for clip in drafts]
    assert not assemble(unknown, title="t").subjects_known
    unknown[3] = replace(unknown[3], video=unknown[0].video)
    with pytest.raises(InputError, match=r"ann-1\.mp4"):
        assemble(unknown, title="t")


def test_one_clip_without_subject_makes_all_unknown(drafts: list[Draft]) -> None:
    drafts[0] = replace(drafts[0], subject=None)
    dataset = assemble(drafts, title="t")
    assert not dataset.subjects_known
    assert all(clip.subject == clip.video for clip in dataset.annotations)


def test_a_clip_id_occurs_once(drafts: list[Draft]) -> None:
    drafts[3] = replace(drafts[3], clip_id="c2")
    with pytest.raises(InputError, match='row 2 and row 4 are both clip "c2"'):
        assemble(drafts, title="t")


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (5, 5, "row 1: start 5 is not before end 5"),
        (0.5, 0.25, "row 1: start 0.5 is not before end 0.25"),
        (-1, 5, "row 1: start -1 is negative"),
    ],
)
def test_intervals(drafts: list[Draft], start: float, stop: float, message: str) -> None:
    drafts[0] = replace(drafts[0], start=start, stop=stop)
    with pytest.raises(InputError, match=message):
        assemble(drafts, title="t")


@pytest.mark.parametrize("part", ["train", "test"])
def test_train_and_test_are_needed(drafts: list[Draft], part: str) -> None:
    with pytest.raises(InputError, match=f"{part} has no clips"):
        assemble([clip for clip in drafts if clip.split != part], title="t")


def test_val_is_taken_from_train_by_subject() -> None:
    clips = [draft(n, "a", "train", f"s{n // 4}") for n in range(40)]  # ten subjects of four
    dataset = assemble([*clips, draft(99, "a", "test", "t")], title="t")
    val = {clip.subject for clip in dataset.annotations if clip.split == "val"}
    train = {clip.subject for clip in dataset.annotations if clip.split == "train"}
    assert len(val) == 2
    assert len(train) == 8
    assert not val & train
    assert "moved to val" in dataset.notes[0]
    assert all(name in dataset.notes[0] for name in val)
    again = assemble([draft(99, "a", "test", "t"), *reversed(clips)], title="t")
    assert {clip.subject for clip in again.annotations if clip.split == "val"} == val


def test_val_is_not_taken_from_the_only_subject(drafts: list[Draft]) -> None:
    with pytest.raises(InputError, match="train has 1 subject"):
        assemble([clip for clip in drafts if clip.split != "val"], title="t")


def test_folds_replace_the_parts(drafts: list[Draft]) -> None:
    dataset = assemble(drafts, title="t", fold=Fold(0, 3))
    # ann has most clips, hence fold 0
    assert {clip.subject: clip.split for clip in dataset.annotations} == {
        "ann": "test",
        "bob": "val",
        "cid": "train",
    }
    assert dataset.title == "t fold 0 of 3"
    assert dataset.notes[0].startswith("--folds replaces")
    assert "Classes without training clips: a." in dataset.notes


def test_folds_are_balanced_and_do_not_depend_on_order() -> None:
    subjects = [f"s{n:02}" for n in range(20) for _ in range(n + 1)]
    folds = assign_folds(subjects, 5)
    assert assign_folds(reversed(subjects), 5) == folds
    clips = Counter(folds[subject] for subject in subjects)
    assert set(clips) == set(range(5))
    assert max(clips.values()) - min(clips.values()) <= 4


def test_every_subject_is_tested_once() -> None:
    subjects = ["a", "b", "c", "d", "e", "e"]
    for part in ("val", "test"):
        chosen = [
            {name for name, found in fold_parts(subjects, Fold(n, 3)).items() if found == part}
            for n in range(3)
        ]
        assert sorted(name for names in chosen for name in names) == ["a", "b", "c", "d", "e"]
    assert [n for n, found in fold_parts(["a", "b", "c"], Fold(2, 3)).items()] == ["a", "b", "c"]
    assert fold_parts(["a", "b", "c"], Fold(2, 3)) == {"a": "val", "b": "train", "c": "test"}


def test_more_folds_than_subjects() -> None:
    with pytest.raises(InputError, match="4 folds need at least 4 subjects, but there are 2: a, b"):
        assign_folds(["a", "b"], 4)


@pytest.mark.parametrize(
    ("folds", "fold", "message"),
    [
        (5, None, "belong together"),
        (None, 0, "belong together"),
        (2, 0, "--folds is 2; pass 3 or more"),
        (5, 5, "--fold 5 is not one of 5 folds; pass 0 to 4"),
        (5, -1, "--fold -1 is not one"),
    ],
)
def test_folds_out_of_range(folds: int | None, fold: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen_fold(folds, fold)


def test_part_names() -> None:
    assert part_name("Train", "here") == "train"
    with pytest.raises(InputError, match='row 3: part "valid" is unknown; write train, val or te'):
        part_name("valid", "row 3")
