"""Read the events of BORIS: a project (.boris), or tables of events that it exports.

BORIS (Friard and Gamba, 2016, "BORIS: a free, versatile open-source event-logging software for
video/audio coding and live observations") is at https://github.com/olivierfriard/BORIS. A project
is JSON: ``observations`` hold ``file`` (media of each player), ``media_info``, ``time offset`` and
``events`` as ``[time, subject, behaviour, modifiers, comment, ...]``; ``behaviors_conf`` tells
state from point events. State events are pairs: the second one stops what the first one starts, if
subject, behaviour and modifiers are equal (``events_start_stop`` in ``project_functions.py``).

Tables are those of ``export_observation.py`` since version 8: aggregated events with a row for
each event and ``Start (s)``, ``Stop (s)``; or tabular events with a row for each start, stop and
point. ``Source`` holds ``player #1:a.mp4;b.mp4|player #2:c.mp4``, ``Media duration (s)`` likewise.

Times count from the beginning of the first media file of player 1, plus the time offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.json_text import read_object
from pipeline.sources.rows import Row, read_table

NO_SUBJECT = "No focal subject"
COLUMNS = ("subject", "behavior", "behavior type", "source", "time offset (s)")
PLAYER = "player #1:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of one observation.

    Attributes
    ----------
    where, observation : str
    media : str or None
        The media file in which it starts, as BORIS names it; None for live observations.
    start : float
        Seconds from the beginning of the media file.
    stop : float or None
        Likewise; None for a point event.
    behaviour, category : str
    subject : str or None
    """

    where: str
    observation: str
    media: str | None
    start: float
    stop: float | None
    behaviour: str
    category: str
    subject: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of BORIS, in seconds of the observation: a point, or a start or stop of a state."""

    where: str
    time: float
    subject: str
    behaviour: str
    modifiers: str
    kind: str
    category: str


@dataclass(frozen=True, slots=True)
class Media:
    """The media files of an observation's first player, in order, with their seconds if known."""

    files: Sequence[str]
    seconds: Sequence[float | None]
    offset: float

    def place(
        self, where: str, start: float, stop: float | None
    ) -> tuple[str | None, float, float | None]:
        """Return the media file in which an event starts, and its times in that file.

        An event that runs into the next file ends with the first one.

        Raises
        ------
        InputError
            If there are several files, and the durations of the first ones are unknown.
        """
        begin, length = start - self.offset, None if stop is None else stop - start
        if not self.files:
            return None, begin, None if length is None else begin + length
        for file, seconds in zip(self.files[:-1], self.seconds, strict=False):
            if seconds is None:
                raise InputError(
                    f"{where}: the observation has {len(self.files)} media files, but the duration "
                    f"of {file} is unknown; add it in BORIS, or use one file per observation"
                )
            if begin < seconds:
                end = None if length is None else min(begin + length, seconds)
                return file, begin, end
            begin -= seconds
        return self.files[-1], begin, None if length is None else begin + length


NO_MEDIA = Media([], [], 0)


def read_events(path: Path) -> list[Event]:
    """Return the events of a project, or of a table.

    Raises
    ------
    InputError
        If the file cannot be read or has another form, or a state event has no stop.
    """
    if path.suffix.casefold() == ".boris":
        return list(_project(path))
    rows = read_table(path, ())
    columns = rows[0].cells.keys()
    missing = [column for column in COLUMNS if column not in columns]
    if missing or not ("time" in columns or {"start (s)", "stop (s)"} <= columns):
        raise InputError(
            f"{path} is no table of events of BORIS 8 or later"
            + (f", without the column {missing[0]}" if missing else "")
            + "; export the events again, or pass the .boris project"
        )
    observations: dict[str, list[Row]] = {}
    for row in rows:
        observations.setdefault(row.cells.get("observation id", ""), []).append(row)
    read = _tabular if "time" in columns else _aggregated
    return [event for name, own in observations.items() for event in read(name, own)]


def _aggregated(observation: str, rows: Sequence[Row]) -> Iterator[Event]:
    for row in rows:
        start = row.number_in("start (s)")
        state = row.text("behavior type").upper() == "STATE"
        stop = row.number_in("stop (s)") if state else None
        yield _event(observation, _mark(row, start), stop, _media_of(row))


def _tabular(observation: str, rows: Sequence[Row]) -> Iterator[Event]:
    media = _media_of(rows[0])
    if not media.files:
        return _without_media(observation, rows[0].where, [row.text("behavior") for row in rows])
    marks = [_mark(row, row.number_in("time")) for row in rows]
    return _paired(observation, marks, media)


def _mark(row: Row, time: float) -> Mark:
    modifiers = "|".join(v for k, v in row.cells.items() if k.startswith("modifier"))
    return Mark(
        row.where,
        time,
        row.cells["subject"],
        row.text("behavior"),
        modifiers,
        row.text("behavior type").upper(),
        row.cells.get("behavioral category", ""),
    )


def _media_of(row: Row) -> Media:
    """Return the media files of a row's observation; none for live observations and pictures."""
    if not row.cells["source"].startswith(PLAYER):
        return NO_MEDIA
    files = row.cells["source"].partition("|")[0].removeprefix(PLAYER).split(";")
    lengths = row.cells.get("media duration (s)", "").partition("|")[0].split(";")
    seconds = [_seconds(length) for length in lengths]
    if len(seconds) != len(files):
        seconds = [None] * len(files)
    return Media(files, seconds, row.number_in("time offset (s)"))


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < float("inf") else None


def _project(path: Path) -> Iterator[Event]:
    """Yield the events of a project; observations without media have none in their events."""
    try:
        project = read_object(path)
        observations, ethogram = project["observations"], project["behaviors_conf"]
        kinds = {entry["code"]: entry["type"] for entry in ethogram.values()}
        categories = {e["code"]: str(e.get("category") or "") for e in ethogram.values()}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not a BORIS project ({error!r}); save it again in BORIS"
        ) from None
    for name, observation in observations.items():
        where = f'{path} observation "{name}"'
        try:
            if observation.get("type", "MEDIA") != "MEDIA":
                yield from _without_media(
                    name, where, [event[2] for event in observation["events"]]
                )
                continue
            media = _project_media(observation)
            marks = [
                _project_mark(f"{where} event {number}", event, kinds, categories)
                for number, event in enumerate(observation["events"])
            ]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise InputError(
                f"{where} cannot be read ({error!r}); save it again in BORIS"
            ) from None
        yield from _paired(name, _with_status(marks), media)


def _project_media(observation: Mapping[str, Any]) -> Media:
    files = observation["file"]
    names = list(files.get("1", [])) if isinstance(files, dict) else []
    info = observation.get("media_info") or {}
    lengths = info.get("length") or {}
    offset = float(observation.get("time offset") or 0)
    return Media(names, [_seconds(lengths.get(name)) for name in names], offset)


def _project_mark(
    where: str, event: Sequence[Any], kinds: Mapping[str, str], categories: Mapping[str, str]
) -> Mark:
    time, subject, code, modifiers = event[0], event[1], event[2], event[3]
    if code not in kinds:
        raise InputError(f'{where}: behavior "{code}" is not in the ethogram; add it in BORIS')
    kind = "STATE" if kinds[code].casefold().startswith("state") else "POINT"
    return Mark(where, float(time), str(subject), code, str(modifiers), kind, categories[code])


def _with_status(marks: Sequence[Mark]) -> list[Mark]:
    """Return marks of states as starts and stops, alternately, as BORIS reads them."""
    running: set[tuple[str, str, str]] = set()
    told = []
    for mark in sorted(marks, key=lambda mark: mark.time):
        key = (mark.subject, mark.behaviour, mark.modifiers)
        if mark.kind == "STATE":
            told.append(replace(mark, kind="STOP" if key in running else "START"))
            running ^= {key}
        else:
            told.append(mark)
    return told


def _paired(observation: str, marks: Sequence[Mark], media: Media) -> Iterator[Event]:
    """Yield an event for every point, and for every start with its stop."""
    running: dict[tuple[str, str, str], Mark] = {}
    for mark in marks:
        key = (mark.subject, mark.behaviour, mark.modifiers)
        if mark.kind == "START" and key not in running:
            running[key] = mark
            continue
        start = running.pop(key, None) if mark.kind == "STOP" else mark
        if start is None or mark.kind not in ("POINT", "STOP"):
            raise InputError(
                f'{mark.where}: state "{mark.behaviour}" has a {mark.kind} at {mark.time:g} s '
                "without its counterpart; pair it in BORIS"
            )
        yield _event(observation, start, mark.time if mark.kind == "STOP" else None, media)
    for start in running.values():
        raise InputError(
            f'{start.where}: state "{start.behaviour}" starts at {start.time:g} s and never stops; '
            "pair it in BORIS"
        )


def _without_media(observation: str, where: str, behaviours: Sequence[str]) -> Iterator[Event]:
    """Yield the events of a live observation, or of pictures; their times are of no video."""
    for behaviour in behaviours:
        yield _event(observation, Mark(where, 0, "", behaviour, "", "POINT", ""), None, NO_MEDIA)


def _event(observation: str, mark: Mark, stop: float | None, media: Media) -> Event:
    file, begin, end = media.place(mark.where, mark.time, stop)
    return Event(
        where=mark.where,
        observation=observation,
        media=file,
        start=begin,
        stop=end,
        behaviour=mark.behaviour,
        category=mark.category,
        subject=None if mark.subject in ("", NO_SUBJECT) else mark.subject,
    )
