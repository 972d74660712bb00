"""Read behaviours that were coded with BORIS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import ClassVar

from featstore.errors import InputError
from featstore.text import count_of
from pipeline.sources.base import Dataset, option
from pipeline.sources.boris_file import Event, read_events
from pipeline.sources.draft import Draft
from pipeline.sources.files import visible_entries, without_suffix
from pipeline.sources.labels import ClassList, listing, nearest_hint
from pipeline.sources.parts import SplitBySubject

SUFFIXES = (".boris", ".csv", ".tsv", ".txt")


@dataclass(frozen=True, kw_only=True)
class Boris(SplitBySubject):
    """Behaviours of a BORIS project (.boris), or of the tables of events that BORIS exports.

    State events are clips from start to stop; ``--point SECONDS`` makes clips around point events,
    which are skipped otherwise. If every video has one subject, it is the subject of its clips;
    otherwise each video is, and ``--subject`` finds another one in a video's path.
    """

    name: ClassVar[str] = "boris"

    data: Path = option(help="Project (.boris), table of events (CSV or TSV), or folder of tables.")
    videos: Path | None = option(
        None, help="Folder of the media files.  [default: the folder of --data]"
    )
    category: str | None = option(None, help="Read only the behaviours of this category.")
    point: float | None = option(None, help="Seconds of a clip around a point event.")

    def read(self, like: ClassList | None = None) -> Dataset:
        """Read the project or the tables; see `Source.read`."""
        if self.point is not None and not 0 < self.point < float("inf"):
            raise InputError(f"--point is {self.point:g}; pass seconds, more than 0")
        notes: list[str] = []
        events = self._of_category(self._with_media(self._events(), notes))
        drafts = self._drafts(events, notes)
        if not drafts:
            raise InputError(
                f"{self.data} has no state events; pass --point SECONDS for clips around its "
                f"{count_of(len(events), 'point event')}"
            )
        if any(draft.subject is None for draft in drafts):
            drafts = [replace(draft, subject=None) for draft in drafts]
        title = f"{self.data.resolve().stem} {self.category or ''}".strip()
        dataset = self._assembled(drafts, self.data, title, notes, like)
        return replace(dataset, unit_assumed=False)

    def _events(self) -> list[Event]:
        if not self.data.exists():
            raise InputError(f"{self.data} does not exist; check --data")
        if self.data.is_file():
            return read_events(self.data)
        paths = [e for e in visible_entries(self.data) if e.suffix.casefold() in SUFFIXES]
        if not paths:
            raise InputError(f"{self.data} has no table of events; pass one, or a .boris project")
        return [event for path in paths for event in read_events(path)]

    def _of_category(self, events: list[Event]) -> list[Event]:
        if self.category is None:
            return events
        categories = {event.category for event in events}
        if self.category not in categories:
            raise InputError(
                f'{self.data} has no events of category "{self.category}", only of '
                f"{listing(sorted(filter(None, categories))) or 'none'}"
                f"{nearest_hint(self.category, categories)}; correct --category"
            )
        return [event for event in events if event.category == self.category]

    def _with_media(self, events: Sequence[Event], notes: list[str]) -> list[Event]:
        """Return the events of media files, and note those of live observations."""
        kept = [event for event in events if event.media is not None]
        if not kept:
            raise InputError(f"{self.data} has no events of a media file; only these have frames")
        if len(kept) < len(events):
            notes.append(
                f"Skipped, without a media file: {count_of(len(events) - len(kept), 'event')}."
            )
        return kept

    def _drafts(self, events: Sequence[Event], notes: list[str]) -> list[Draft]:
        """Return the clips of events, and note what is skipped."""
        subjects: dict[str | None, set[str | None]] = {}
        for event in events:
            subjects.setdefault(event.media, set()).add(event.subject)
        alone = all(len(names) == 1 for names in subjects.values())
        if not alone and any(event.subject for event in events):
            notes.append("Some videos have several subjects, so each video counts as a subject.")
        find = cache(partial(_video, self.videos or self._folder))
        drafts, points = [], 0
        for event in events:
            interval = self._interval(event)
            if interval is None:
                points += 1
                continue
            video, path = find(event.media or "")
            start, stop = interval
            draft = Draft(
                clip_id=f"{without_suffix(video)}#{event.behaviour}-{start:.3f}-{stop:.3f}"
                + (f"-{event.subject}" if event.subject and not alone else ""),
                video=video,
                path=path,
                label=event.behaviour,
                where=event.where,
                start=start,
                stop=stop,
                unit="seconds",
                subject=event.subject if alone else None,
            )
            drafts.append(draft)
        if points and drafts:
            notes.append(
                f"Skipped: {count_of(points, 'point event')}; --point SECONDS makes clips of them."
            )
        return drafts

    def _interval(self, event: Event) -> tuple[float, float] | None:
        if event.stop is not None:
            return event.start, event.stop
        if self.point is None:
            return None
        return max(0.0, event.start - self.point / 2), event.start + self.point / 2

    @property
    def _folder(self) -> Path:
        return self.data.parent if self.data.is_file() else self.data


def _video(folder: Path, media: str) -> tuple[str, Path]:
    """Return the name and path of a media file, whose path may be of another machine."""
    for name in _endings(media.replace("\\", "/")):
        if (folder / name).exists():
            return name, folder / name
    name = PurePosixPath(media.replace("\\", "/")).name
    return name, folder / name


def _endings(path: str) -> Iterator[str]:
    """Yield a path without its first folders, from the longest to the name alone.

    Examples
    --------
    >>> list(_endings("C:/videos/cam1/a.mp4"))
    ['videos/cam1/a.mp4', 'cam1/a.mp4', 'a.mp4']
    """
    parts = [part for part in PurePosixPath(path).parts if part != "/" and not part.endswith(":")]
    for first in range(len(parts)):
        yield "/".join(parts[first:])
