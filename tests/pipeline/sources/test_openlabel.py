"""OpenLABEL files as TaTo writes them for the Driver Monitoring Dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featstore.errors import InputError
from pipeline.sources.labels import ClassList
from pipeline.sources.openlabel import OpenLabel

SESSIONS = {"1": "gA_1_s1_2019-03-08T09;31;15+01;00", "2": "gA_2_s1_2019-03-08T10;01;44+01;00",
            "6": "gB_6_s1_2019-03-11T14;55;45+01;00"}  # fmt: skip
SHIFTS = {"face_camera": 0, "body_camera": 4, "hands_camera": -6}
FRAMES = 100


def folder_of(subject: str) -> str:
    return f"{SESSIONS[subject][:2]}/{subject}/s1"


def action(kind: str, *intervals: tuple[int, int]) -> dict[str, Any]:
    return {
        "name": "",
        "type": kind,
        "ontology_uid": "0",
        "frame_intervals": [{"frame_start": a, "frame_end": b} for a, b in intervals],
    }


def content(subject: str) -> dict[str, Any]:
    """What the published files hold, without the frames."""
    name = SESSIONS[subject]
    streams = {
        camera: {
            "description": "",
            "type": "camera",
            "uri": f"{folder_of(subject)}/{name}_rgb_{camera.partition('_')[0]}.mp4",
            "stream_properties": {
                "cam_module": "Intel RealSense D415",
                "total_frames": FRAMES,
                "sync": {"frame_shift": shift},
            },
        }
        for camera, shift in SHIFTS.items()
    }
    return {
        "metadata": {"schema_version": "1.0.0", "name": name, "annotator": "2"},
        "objects": {"0": {"name": subject, "type": "driver"}, "1": {"name": "", "type": "bottle"}},
        "actions": {
            "0": action("gaze_on_road/looking_road", (0, 60)),
            "1": action("driver_actions/safe_drive", (0, 20), (40, 60)),
            "2": action("driver_actions/texting_left", (21, 39)),
        },
        "streams": streams,
        "frame_intervals": [{"frame_start": 0, "frame_end": 109}],
        "frames": {},
    }


@pytest.fixture
def dmd(write) -> Callable[..., Path]:
    """Write the dataset, after a change of one file."""

    def dmd(change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
        for subject, name in SESSIONS.items():
            file = content(subject)
            if subject == "2":
                change(file)
            path = write(
                f"dmd/{folder_of(subject)}/{name}_rgb_ann_distraction.json",
                json.dumps({"openlabel": file}),
            )
            for camera in ("face", "body", "hands"):
                for channel in ("rgb", "ir"):
                    write(f"dmd/{folder_of(subject)}/{name}_{channel}_{camera}.mp4", "")
        return path.parents[3]

    return dmd


BODY: dict[str, Any] = {"actions": "driver_actions", "stream": "body_camera"}
FOLDS: dict[str, Any] = {"folds": 3, "fold": 0}


def test_actions_of_one_level(dmd) -> None:
    dataset = OpenLabel(data=dmd(), **BODY, **FOLDS).read()
    assert dataset.title == "dmd driver_actions body_camera rgb fold 0 of 3"
    assert dataset.classes == ("safe_drive", "texting_left")
    assert dataset.subjects_known
    clips = {clip.clip_id: clip for clip in dataset.annotations}
    name = f"gB/6/s1/{SESSIONS['6']}"
    clip = clips[f"{name}_rgb_ann_distraction/texting_left/21-39"]
    assert clip.video == f"{name}_rgb_body.mp4"
    assert clip.path.exists()
    # The hands begin first, 10 frames before the body: frame 21 of all is frame 11 of the body.
    assert (clip.start, clip.stop, clip.unit) == (11, 30, "frames")
    assert (clip.subject, dataset.pixels) == ("6", "rgb")
    assert {clip.split for clip in dataset.annotations} == {"train", "val", "test"}
    # Both are in the first interval of safe driving, which begins before the body's camera.
    assert clips[f"{name}_rgb_ann_distraction/safe_drive/0-20"].start == 0
    assert dataset.notes[0].startswith("Outside of the stream, cut or skipped: 1 interval of gA/1/")


def test_streams_share_clip_ids(dmd) -> None:
    data = dmd()
    ids = [
        {clip.clip_id for clip in OpenLabel(data=data, **more, **FOLDS).read().annotations}
        for more in (BODY, BODY | {"stream": "hands_camera"})
    ]
    assert ids[0] == ids[1]
    hands = OpenLabel(data=data, **BODY | {"stream": "hands_camera"}, **FOLDS).read()
    starts = {clip.start for clip in hands.annotations}
    assert starts == {0, 21, 40}


def test_infrared(dmd) -> None:
    dataset = OpenLabel(data=dmd(), channel="ir", **BODY, **FOLDS).read()
    assert dataset.pixels == "luma"
    assert all(clip.path.name.endswith("_ir_body.mp4") for clip in dataset.annotations)
    assert all(clip.path.exists() for clip in dataset.annotations)


def test_videos_next_to_the_file(dmd) -> None:
    data = dmd() / "gB"  # URIs begin with gB
    classes = ClassList(("safe_drive", "texting_left"), {}, "the run")
    dataset = OpenLabel(data=data, **BODY).read(classes)
    assert {clip.split for clip in dataset.annotations} == {"test"}
    assert {clip.video for clip in dataset.annotations} == {f"6/s1/{SESSIONS['6']}_rgb_body.mp4"}


def test_files_of_vcd_4_and_with_one_stream(write, tmp_path: Path) -> None:
    for subject in SESSIONS:
        file = content(subject)
        streams = {"general": {"uri": f"{subject}.mp4", "stream_properties": {"total_frames": 9}}}
        file["metadata"]["streams"] = streams
        del file["streams"], file["actions"]["0"]
        write(f"{subject}.json", json.dumps({"vcd": file}))
    write("other.json", '{"a": 1}')
    dataset = OpenLabel(data=tmp_path, **FOLDS).read()
    assert {clip.video for clip in dataset.annotations} == {"1.mp4", "2.mp4", "6.mp4"}
    assert {(clip.start, clip.stop) for clip in dataset.annotations} == {(0, 9)}
    assert "Skipped, no OpenLABEL with actions: other.json." in dataset.notes


def test_split_file(dmd, write, parts) -> None:
    file = write("splits.csv", "subject,split_0\n1,train\n2,val\n6,test\n")
    dataset = OpenLabel(data=dmd(), split_file=file, split=0, **BODY).read()
    assert {(clip.subject, clip.split) for clip in dataset.annotations} == {
        ("1", "train"), ("2", "val"), ("6", "test"),
    }  # fmt: skip
    with pytest.raises(InputError, match='action "1" interval 0: subject "6" is not in'):
        OpenLabel(
            data=dmd(), split_file=write("s.csv", "subject,split\n1,train\n2,test\n"), **BODY
        ).read()


def first(change: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda file: file["actions"]["1"].update(change)


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no type": (first({"type": None}), r'\.json action "1" has no type'),
    "only a level": (first({"type": "driver_actions/"}), 'action "1" has no type'),
    "no intervals": (first({"frame_intervals": None}), 'action "1" has no list of frame_intervals'),
    "interval": (first({"frame_intervals": [[1, 2]]}), 'action "1" interval 0 is not frame_start'),
    "float": (
        first({"frame_intervals": [{"frame_start": 0.5, "frame_end": 2}]}),
        "is not frame_start and frame_end, whole",
    ),
    "backwards": (
        first({"frame_intervals": [{"frame_start": 5, "frame_end": 2}]}),
        "frame_end 2 is before frame_start 5",
    ),
    "no uri": (lambda f: f["streams"]["body_camera"].pop("uri"), "body_camera has no uri"),
    "shift": (
        lambda f: f["streams"]["face_camera"]["stream_properties"]["sync"].update(frame_shift="4"),
        "frame_shift of stream face_camera is '4'",
    ),
    "no stream": (lambda f: f["streams"].pop("body_camera"), "has no stream body_camera, only"),
    "twice": (
        first({"frame_intervals": [{"frame_start": 9, "frame_end": 20}] * 2}),
        "are both clip",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_sentences(dmd, case: str) -> None:
    change, words = BAD[case]
    with pytest.raises(InputError, match=words):
        OpenLabel(data=dmd(change), **BODY, **FOLDS).read()


def test_choices_are_named(dmd, write, tmp_path: Path) -> None:
    data = dmd()
    for more, words in (
        ({}, "2 levels of actions.*--actions: driver_actions, gaze_on_road"),
        ({"actions": "driver_action"}, 'only of .*nearest name is "driver_actions"'),
        ({"actions": "driver_actions"}, "3 streams; choose one with --stream: face_camera, body"),
        ({**BODY, "stream": "body"}, "has no stream body, only face_camera"),
        (BODY | {"folds": None, "fold": None}, "does not say which clips are train"),
        (BODY | {"split": 1}, "--split 1 needs --split-file"),
    ):
        with pytest.raises(InputError, match=words):
            OpenLabel(data=data, **(FOLDS | more)).read()
    with pytest.raises(InputError, match="does not exist; check --data"):
        OpenLabel(data=tmp_path / "none", **FOLDS).read()
    write("empty/a.json", "[]")
    with pytest.raises(InputError, match="is not a JSON object"):
        OpenLabel(data=tmp_path / "empty", **FOLDS).read()
    write("empty/a.json", "{}")
    with pytest.raises(InputError, match="no OpenLABEL file with actions"):
        OpenLabel(data=tmp_path / "empty", **FOLDS).read()
