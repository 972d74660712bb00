"""Projects and exports as BORIS writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featstore.errors import InputError
from pipeline.sources.boris import Boris
from pipeline.sources.labels import ClassList

FOLDS: dict[str, Any] = {"folds": 3, "fold": 0}
EVENTS = [  # time, subject, behaviour, modifiers, comment, frame
    [1.5, "hen 1", "walk", "", "", 37],
    [2.0, "hen 1", "peck", "", "", 50],
    [4.25, "hen 1", "walk", "", "", 106],
    [5.0, "hen 1", "walk", "fast", "", 125],
    [5.5, "hen 1", "walk", "", "", 137],
    [6.0, "hen 1", "walk", "fast", "", 150],  # stops the one with this modifier
    [7.5, "hen 1", "walk", "", "", 187],
]
WALKS = {(1.5, 4.25), (5.0, 6.0), (5.5, 7.5)}


def observation(files: list[str], events: list[list[Any]], **more: Any) -> dict[str, Any]:
    return {
        "file": {"1": files, "2": [], "3": []},
        "type": "MEDIA",
        "date": "2024-02-28T15:25:10",
        "description": "",
        "time offset": 0.0,
        "events": events,
        "observation time interval": [0, 0],
        "independent_variables": {},
        "media_info": {
            "length": dict.fromkeys(files, 10.0),
            "fps": dict.fromkeys(files, 25.0),
            "hasVideo": dict.fromkeys(files, True),
        },
    } | more


def behaviour(code: str, kind: str, category: str = "") -> dict[str, Any]:
    return {"type": kind, "key": code[0], "code": code, "description": "", "color": "",
            "category": category, "modifiers": {}, "excluded": "", "coding map": ""}  # fmt: skip


def project() -> dict[str, Any]:
    def of(hen: str) -> list[list[Any]]:
        return [[event[0], hen, *event[2:]] for event in EVENTS]

    return {
        "time_format": "hh:mm:ss",
        "project_date": "2024-02-28T15:00:00",
        "project_name": "hens",
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {"0": {"key": "1", "name": "hen 1", "description": ""}},
        "behaviors_conf": {
            "0": behaviour("walk", "State event", "Movement"),
            "1": behaviour("peck", "Point event", "Feeding"),
        },
        "observations": {
            "one": observation(["/home/ana/video/pen1/a.mp4"], of("hen 1")),
            "two": observation(["pen2/a.mp4"], of("hen 2")),
            "three": observation(["C:\\data\\c.mp4"], of("hen 3")),
            "in the field": observation([], [[1.0, "", "walk", "", ""]], type="LIVE", file=[]),
        },
    }


@pytest.fixture
def hens(write) -> Callable[..., Path]:
    """Write the project, after a change, and its videos."""

    def hens(change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
        content = project()
        change(content)
        for video in ("pen1/a.mp4", "pen2/a.mp4", "c.mp4"):
            write(video, "")
        return write("hens.boris", json.dumps(content))

    return hens


def intervals(dataset, video: str, label: str = "walk") -> set[tuple[float, float]]:
    return {
        (round(clip.start, 6), round(clip.stop, 6))
        for clip in dataset.annotations
        if (clip.video, clip.label) == (video, label)
    }


def test_states_of_a_project(hens) -> None:
    dataset = Boris(data=hens(), **FOLDS).read()
    assert dataset.title == "hens fold 0 of 3"
    assert dataset.classes == ("walk",)
    assert {clip.unit for clip in dataset.annotations} == {"seconds"}
    # Paths of another machine are found by their last folders.
    for video in ("pen1/a.mp4", "pen2/a.mp4", "c.mp4"):
        assert intervals(dataset, video) == WALKS
    assert all(clip.path.exists() for clip in dataset.annotations)
    assert dataset.subjects_known
    assert {clip.subject for clip in dataset.annotations} == {"hen 1", "hen 2", "hen 3"}
    assert {clip.split for clip in dataset.annotations} == {"train", "val", "test"}
    assert dataset.notes[:2] == (
        "Skipped, without a media file: 1 event.",
        "Skipped: 3 point events; --point SECONDS makes clips of them.",
    )
    ids = {clip.clip_id for clip in dataset.annotations}
    assert "c#walk-1.500-4.250" in ids


def test_points_and_categories(hens) -> None:
    dataset = Boris(data=hens(), category="Feeding", point=1.0, **FOLDS).read()
    assert dataset.title == "hens Feeding fold 0 of 3"
    assert intervals(dataset, "c.mp4", "peck") == {(1.5, 2.5)}
    assert len(dataset.annotations) == 3
    early = Boris(data=hens(), category="Feeding", point=6, **FOLDS).read()
    assert intervals(early, "c.mp4", "peck") == {(0.0, 5.0)}
    with pytest.raises(InputError, match=r"no state events; pass --point .* its 3 point events"):
        Boris(data=hens(), category="Feeding", **FOLDS).read()


def test_files_in_a_row_and_offsets(hens) -> None:
    def change(content: dict[str, Any]) -> None:
        events = [
            [101.0, "hen 3", "walk", "", ""],
            [112.0, "hen 3", "walk", "", ""],  # the first file ends after 10 s
            [113.0, "hen 3", "walk", "", ""],
            [115.5, "hen 3", "walk", "", ""],
        ]
        content["observations"]["three"] = observation(
            ["c.mp4", "pen3/d.mp4"], events, **{"time offset": 100.0}
        )

    dataset = Boris(data=hens(change), **FOLDS).read()
    assert intervals(dataset, "c.mp4") == {(1.0, 10.0)}
    assert intervals(dataset, "d.mp4") == {(3.0, 5.5)}


def test_several_subjects_in_a_video(hens) -> None:
    def change(content: dict[str, Any]) -> None:
        for event in ([1.5, "hen 9", "walk", "", ""], [4.25, "hen 9", "walk", "", ""]):
            content["observations"]["one"]["events"].append(event)

    dataset = Boris(data=hens(change), **FOLDS).read()
    assert not dataset.subjects_known
    assert len(intervals(dataset, "pen1/a.mp4")) == 3
    assert len({clip.clip_id for clip in dataset.annotations}) == 10  # both hens walked
    assert "Some videos have several subjects, so each video counts as a subject." in dataset.notes
    named = Boris(data=hens(change), subject=r"(?:pen)?(\w)(?:/a)?\.mp4", **FOLDS).read()
    assert {clip.subject for clip in named.annotations} == {"1", "2", "c"}


TABULAR = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,"
    "Time offset (s),Media duration (s),FPS,Subject,Behavior,Behavioral category,Modifier #1,"
    "Behavior type,Time,Media file name,Image index,Image file path,Comment"
)
AGGREGATED = (
    "Observation id,Observation date,Description,Observation type,Source,Time offset (s),"
    "Coding duration,Media duration (s),FPS (frame/s),Subject,"
    "Observation duration by subject by observation,Behavior,Behavioral category,Modifier #1,"
    "Behavior type,Start (s),Stop (s),Duration (s),Media file name,Image index start,"
    "Image index stop,Image file path start,Image file path stop,Comment start,Comment stop"
)


def tabular(name: str, video: str) -> str:
    """One observation, as BORIS exports each to a file of its own."""
    lines, running = [TABULAR], set[str]()
    for time, subject, code, modifier, comment, frame in EVENTS:
        kind = "POINT"
        if code == "walk":
            kind = "STOP" if modifier in running else "START"
            running ^= {modifier}
        lines.append(
            f"{name},2024-02-28 15:25:10,,6.0,Media file(s),player #1:{video},0.0,10.000,25.000,"
            f"{subject},{code},Movement,{modifier},{kind},{time},{video},{frame},NA,{comment}"
        )
    return "\n".join(lines) + "\n"


def aggregated(separator: str = "\t") -> str:
    """All observations, the third with two files in a row."""
    lines = [AGGREGATED]
    for number, source in enumerate(("a.mp4", "b.mp4", "c.mp4;d.mp4|player #2:e.mp4")):
        seconds = "10.000;10.000|10.000" if ";" in source else "10.000"
        for start, stop in sorted(WALKS):
            begin, end = (start + 10, stop + 10) if ";" in source else (start, stop)
            lines.append(
                f"obs {number},2024-02-28 15:25:10,,Media file,player #1:{source},0.0,6.000,"
                f"{seconds},25.000,No focal subject,9,walk,Movement,,STATE,{begin:.3f},{end:.3f},"
                f"{end - begin:.3f},x.mp4,1,2,,,,"
            )
        lines.append(
            f"obs {number},2024-02-28 15:25:10,,Media file,player #1:{source},0.0,6.000,{seconds},"
            "25.000,No focal subject,9,peck,Feeding,,POINT,2.000,2.000,NA,x.mp4,1,NA,,,,"
        )
    return "\n".join(lines).replace(",", separator) + "\n"


def test_tabular_events_one_file_per_observation(write, tmp_path: Path) -> None:
    for name in "abc":
        write(f"events/{name}.csv", tabular(name, f"{name}.mp4").replace("hen 1", f"hen {name}"))
        write(f"media/{name}.mp4", "")
    dataset = Boris(data=tmp_path / "events", videos=tmp_path / "media", **FOLDS).read()
    assert intervals(dataset, "b.mp4") == WALKS
    assert {clip.path.parent for clip in dataset.annotations} == {tmp_path / "media"}
    assert {clip.subject for clip in dataset.annotations} == {"hen a", "hen b", "hen c"}


@pytest.mark.parametrize("separator", ["\t", ","])
def test_aggregated_events(write, separator: str) -> None:
    dataset = Boris(data=write("all.tsv", aggregated(separator)), point=1, **FOLDS).read()
    assert dataset.classes == ("peck", "walk")
    assert not dataset.subjects_known
    for video in ("a.mp4", "b.mp4", "d.mp4"):
        assert intervals(dataset, video) == WALKS
    assert intervals(dataset, "c.mp4", "peck") == {(1.5, 2.5)}


def test_clips_for_a_run_are_all_test(hens) -> None:
    dataset = Boris(data=hens()).read(ClassList(("walk",), {}, "the run"))
    assert {clip.split for clip in dataset.annotations} == {"test"}
    with pytest.raises(InputError, match="does not say which clips are train"):
        Boris(data=hens()).read()


def edit(index: int, *values: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["observations"]["two"]["events"][index : index + 1] = list(values)

    return change


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unpaired": (edit(6), r'observation "two" event 4: state "walk" starts at 5.5 s and never'),
    "unknown": (edit(0, [1.5, "x", "fly", "", ""]), 'event 0: behavior "fly" is not in the ethog'),
    "short event": (edit(0, [1.5]), r'observation "two" cannot be read \(IndexError'),
    "time": (edit(0, ["soon", "x", "walk", "", ""]), "cannot be read .*could not convert"),
    "no events": (lambda c: c["observations"]["two"].pop("events"), "cannot be read .*'events'"),
    "no ethogram": (lambda c: c.pop("behaviors_conf"), r"hens\.boris is not a BORIS project"),
    "empty state": (
        edit(0, *[[1.5, "hen 2", "walk", "", ""]] * 3),
        "start 1.5 is not before end 1.5",
    ),
    "duration": (
        lambda c: c["observations"].update(
            two=observation(["c.mp4", "d.mp4"], EVENTS, media_info={"length": {}})
        ),
        "event 1: the observation has 2 media files, but the duration of c.mp4 is unknown",
    ),
    "only live": (
        lambda c: [o.update(type="LIVE") for o in c["observations"].values()],
        "no events of a media file",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_sentences(hens, case: str) -> None:
    change, words = BAD[case]
    with pytest.raises(InputError, match=words):
        Boris(data=hens(change), **FOLDS).read()


def test_other_files_are_refused(hens, write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    old = "Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tStatus\n" + "1\t" * 6 + "1"
    lost = tabular("a", "a.mp4").replace("STOP,4.25", "START,4.25")
    for data, words in (
        (tmp_path / "none.boris", "does not exist; check --data"),
        (tmp_path / "empty", "has no table of events"),
        (write("x.boris", "[]"), "is not a BORIS project"),
        (
            write("x.csv", "a,b\n1,2\n"),
            "no table of events of BORIS 8 or later, without the column",
        ),
        (write("old.tsv", old), "no table of events of BORIS 8 or later"),
        (write("y.csv", TABULAR + "\n"), "has a header but no rows"),
        (write("z.csv", lost), 'row 4: state "walk" has a START at 4.25 s without'),
    ):
        with pytest.raises(InputError, match=words):
            Boris(data=data, **FOLDS).read()
    with pytest.raises(
        InputError, match=r'category "Movements", only of Feeding, Movement.*nearest'
    ):
        Boris(data=hens(), category="Movements", **FOLDS).read()
    with pytest.raises(InputError, match="--point is -1; pass seconds"):
        Boris(data=hens(), point=-1.0, **FOLDS).read()
