import pytest

from featstore.keys import ClipKey
from featstore.manage.diff import Subject, changes, shared

FEATURES = {"size": 224, "normalise": {"from": "split"}}
CLIPS = [
    ClipKey(f"clip{n}", f"{n:064d}", "limited", 0, 30, "walk", "ann", "train") for n in range(4)
]
MOMENTS = ((0.5,), (0.2,))


def subject(clips=CLIPS, *, moments=MOMENTS, classes=("walk", "sit"), known=True, **features):
    return Subject("name", {**FEATURES, **features}, tuple(classes), known, clips, moments)


def replaced(**fields) -> list[ClipKey]:
    return [CLIPS[0], CLIPS[1]._replace(**fields), *CLIPS[2:]]


def test_equal_subjects_differ_in_nothing() -> None:
    assert changes(subject(), subject(list(CLIPS))) == []


@pytest.mark.parametrize(
    ("new", "line"),
    [
        (subject(size=112), "size: 224 -> 112"),
        (subject(classes=("walk", "sit", "run")), "classes added: 1 (run)"),
        (subject(classes=("walk",)), "classes removed: 1 (sit)"),
        (subject(classes=("sit", "walk")), "order of the classes"),
        (subject(known=False), "subjects known: True -> False"),
        (subject(CLIPS[1:]), "clips removed: 1 (clip0)"),
        (subject([*CLIPS, CLIPS[0]._replace(clip_id="new", start=3)]), "clips added: 1 (new)"),
        (subject(replaced(label="sit")), "label: 1 clips, such as clip1: walk -> sit"),
        (subject(replaced(split="val")), "split: 1 clips, such as clip1: train -> val"),
        (subject(replaced(subject="bob")), "subject: 1 clips, such as clip1: ann -> bob"),
        (subject(replaced(stop=31)), "stop: 1 clips, such as clip1: 30 -> 31"),
        (subject(replaced(clip_id="x")), "clip_id: 1 clips, such as clip1: clip1 -> x"),
        (
            subject(replaced(video="f" * 64)),
            f"content of the video: 1 clips, such as clip1: {1:064d} -> {'f' * 64}",
        ),
        (subject(CLIPS[::-1]), "order of the clips"),
        (subject(moments=((0.4,), (0.2,))), "mean and std: 0.5; 0.2 -> 0.4; 0.2"),
    ],
)
def test_each_change_is_one_line(new: Subject, line: str) -> None:
    assert changes(subject(), new) == [line]


def test_the_same_mean_and_std_measured_and_fixed() -> None:
    fixed = subject(normalise={"mean": [0.5], "std": [0.2]})
    (line,) = changes(subject(), fixed)
    assert line.startswith("origin of the same mean and std: measured -> fixed")
    assert changes(subject(), subject(moments=((0.4,), (0.2,)), normalise={"mean": [0.4]})) == [
        "mean and std: 0.5; 0.2 -> 0.4; 0.2"
    ]


def test_unknown_statistics_are_no_change() -> None:
    assert changes(subject(), subject(moments=None)) == []
    assert shared(subject(), subject(moments=None)) == set()


def test_shared_clips_are_those_of_equal_feature_key() -> None:
    assert shared(subject(), subject(replaced(label="sit", clip_id="x"))) == {0, 1, 2, 3}
    assert shared(subject(), subject(replaced(stop=31))) == {0, 2, 3}
    assert shared(subject(), subject(size=112)) == set()
    assert shared(subject(), subject(moments=((0.4,), (0.2,)))) == set()
    by_value = {"mean": [0.5], "std": [0.2]}
    assert shared(subject(), subject(normalise=by_value)) == {0, 1, 2, 3}
