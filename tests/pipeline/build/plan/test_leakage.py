"""Weights that have seen somebody are not tested on them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file

from featstore.errors import InputError
from pipeline.build.plan.clips import Clip
from pipeline.build.plan.leakage import METADATA, check_unseen, read_training, record_of
from pipeline.sources.base import Dataset, Source
from pipeline.video.index import empty_index
from pipeline.video.videos import Video

PATH = Path("tuned.safetensors")
PARTS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Some(Source):
    name: ClassVar[str] = "some"

    def read(self) -> Dataset:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class One(Some):
    dataset: ClassVar[str] = "one"


class Split:
    """Clips of (video's content, subject, part), one a row."""

    def __init__(
        self, *rows: tuple[str, str, str], known: bool = True, source: Source | None = None
    ) -> None:
        contents = sorted({content for content, _, _ in rows})
        self.source = source or Some()
        self.dataset = Dataset(title="t", annotations=(), classes=("a",), subjects_known=known)
        self.videos = [Video(f"{own}.mp4", Path(own), own, empty_index()) for own in contents]
        self.clips = [
            Clip(f"c{number}", contents.index(content), 0, 9, "a", subject, part)
            for number, (content, subject, part) in enumerate(rows)
        ]

    def record(self, base: dict[str, Any] | None = None) -> dict[str, Any]:
        record = record_of(self.source, self.dataset, self.clips, self.videos)
        record["base"] = {"name": "base.pth", "training": base}
        return json.loads(json.dumps(record))

    def check(self, record: dict[str, Any]) -> list[str]:
        return check_unseen(PATH, record, self.source, self.dataset, self.clips, self.videos)


def three(parts: Sequence[str] = PARTS, videos: str = "xyz", **more: Any) -> Split:
    """One video each of ann, bob and cid."""
    return Split(*zip(videos, ("ann", "bob", "cid"), parts, strict=True), **more)


def test_the_split_itself_and_others_that_hold_out_the_same() -> None:
    record = three().record()
    three().check(record)
    three(("train", "train", "test")).check(record)
    # A new person's video may come in anywhere.
    Split(("x", "ann", "train"), ("y", "bob", "val"), ("w", "dan", "test")).check(record)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("test", "val", "train"), "has ann in train or val, and here they are in test"),
        (("train", "test", "val"), "has bob in train or val, and here they are in test"),
        (("val", "train", "test"), "has ann in train, and here they are in val"),
    ],
)
def test_who_was_seen_is_not_held_out(parts: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError) as caught:
        three(parts).check(three().record())
    assert words in str(caught.value)
    assert "tuned.safetensors was finetuned on 't'" in str(caught.value)
    assert "base.pth" in str(caught.value)


def test_another_video_of_somebody_who_was_seen() -> None:
    record = three().record()
    with pytest.raises(InputError, match="has ann"):
        Split(("new", "ann", "test"), ("y", "bob", "val"), ("x", "ann", "train")).check(record)


def test_equal_names_in_other_data_may_be_other_people() -> None:
    record = three().record(base=three().record())
    (line,) = three(("test", "val", "train"), videos="uvw").check(record)
    assert "'t', which has ann in train or val, and such names are here in test: as no" in line
    assert "they could not be told to be the same people" in line
    test, val = three(("val", "test", "train"), videos="uvw").check(record)
    assert "has ann in train, and such names are here in val" in test + val
    assert "has bob in train or val, and such names are here in test" in test + val


def test_nothing_is_said_where_names_are_told_apart_or_mean_nothing() -> None:
    assert three().check(three().record()) == []
    assert three(videos="uvw").check(three().record()) == []
    assert three(source=One()).check(three(source=One(), videos="uvw").record()) == []
    swapped = three(("test", "val", "train"), videos="uvw", known=False)
    assert swapped.check(three().record()) == []


def test_a_data_set_has_the_same_names_in_every_view() -> None:
    record = three(source=One()).record()
    with pytest.raises(InputError, match="has ann"):
        three(("test", "val", "train"), videos="uvw", source=One()).check(record)


@pytest.mark.parametrize(("before", "now"), [(True, False), (False, True), (False, False)])
def test_without_known_subjects_videos_are_compared_whatever_they_are_called(before, now) -> None:
    record = Split(("x", "x.mp4", "train"), ("y", "y.mp4", "val"), known=before).record()
    Split(("z", "x.mp4", "test"), ("x", "q.mp4", "train"), known=now).check(record)
    with pytest.raises(InputError, match=r"has copy\.mp4"):
        Split(("x", "copy.mp4", "test"), known=now).check(record)


def test_people_who_share_a_video_are_told_apart_by_name() -> None:
    rows = (("x", "ann", "train"), ("x", "cid", "test"), ("y", "bob", "val"))
    record = Split(*rows).record()
    Split(*rows).check(record)
    with pytest.raises(InputError, match="has ann in train"):
        Split(("x", "ann", "test"), ("x", "cid", "train")).check(record)


# Nobody in x was held out from the choice of the weights; in y, cid was; in z, dan and eve.
SHARED = (
    *(("x", "ann", "train"), ("x", "bob", "val")),
    *(("y", "fay", "train"), ("y", "cid", "test")),
    *(("z", "gus", "train"), ("z", "dan", "val"), ("z", "eve", "test")),
)


@pytest.mark.parametrize(
    ("video", "part", "names"),
    [("x", "val", ("bob", "new")), ("y", "test", ("cid", "new")), ("y", "val", ("cid", "new"))]
    + [("z", part, ("eve", "new")) for part in ("val", "test")],
)
def test_shared_videos_that_held_somebody_out_are_told_apart_by_name(video, part, names) -> None:
    record = Split(*SHARED).record()
    Split(*SHARED).check(record)
    for name in names:
        Split((video, name, part)).check(record)
    with pytest.raises(InputError, match=r"has (ann|fay|gus) in train"):
        Split((video, {"x": "ann", "y": "fay", "z": "gus"}[video], part)).check(record)


@pytest.mark.parametrize("name", ["ann", "bob", "anna"])
def test_a_video_that_train_and_val_share_is_not_tested_on(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} .*train"):
        Split(("x", name, "test")).check(Split(*SHARED).record())


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("video", ["x", "y", "z"])
def test_shared_videos_are_not_held_out_where_names_mean_nothing(video: str, part: str) -> None:
    with pytest.raises(InputError, match=r"v\.mp4"):
        Split((video, "v.mp4", part), known=False).check(Split(*SHARED).record())


def test_files_that_list_what_train_and_val_share_as_mixed() -> None:
    record = Split(*SHARED).record() | {"version": 1, "mixed": ["x", "y", "z"]}
    Split(*SHARED[:4]).check(record)
    with pytest.raises(InputError, match="has anna in train or val"):
        Split(("x", "anna", "test")).check(record)


def test_what_the_weights_before_had_seen_counts() -> None:
    record = three(("val", "test", "train"), videos="uvw").record(base=three().record())
    with pytest.raises(InputError, match="has ann"):
        three(("test", "val", "train")).check(record)


def test_names_are_shortened() -> None:
    rows = [(f"v{n}", f"s{n}", "train") for n in range(12)]
    with pytest.raises(InputError, match=r"s5 and 4 more in train"):
        Split(*((video, name, "test") for video, name, _ in rows)).check(Split(*rows).record())


def saved(path: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file({"a": torch.zeros(2)}, path, metadata=metadata)
    return path


def test_files_that_say_nothing(tmp_path: Path) -> None:
    assert read_training(saved(tmp_path / "w.safetensors")) is None
    assert read_training(saved(tmp_path / "v.safetensors", {"format": "pt"})) is None
    assert read_training(saved(tmp_path / "w.pth", {METADATA: '{"version": 1}'})) is None
    (tmp_path / "torn.safetensors").write_bytes(b"no weights")  # the loader says so
    assert read_training(tmp_path / "torn.safetensors") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "its metadata are damaged"),
        ("[]", "its metadata are damaged"),
        ("{}", "its metadata are damaged"),
        ('{"version": 1, "title": "t"}', "its metadata are damaged"),
        ('{"version": 99}', "newer featstore"),
    ],
)
def test_files_that_cannot_be_understood(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_training(saved(tmp_path / "w.safetensors", {METADATA: text}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base", "x"),
        ("base", {"name": "b"}),
        ("base", {"name": "b", "training": {}}),
        ("subjects", 0),
        ("subjects", {"train": []}),
        ("videos", {"train": [0], "val": []}),
        ("mixed", None),
        ("title", 1),
    ],
)
def test_every_field_that_is_read_is_checked(tmp_path: Path, field: str, value: Any) -> None:
    record = Split(("v", "p", "train")).record()
    path = tmp_path / "w.safetensors"
    assert read_training(saved(path, {METADATA: json.dumps(record)})) == record
    saved(path, {METADATA: json.dumps({**record, field: value})})
    with pytest.raises(InputError, match=f"w.safetensors .*damaged .{field}"):
        read_training(path)
