"""Who does what when: pure planning of the videos, the annotation rows and the splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from featstore.errors import InputError
from pipeline.demo.activities import REVERSED, Take
from pipeline.demo.people import PARTICIPANTS
from pipeline.demo.views import VIEWS, View

CHUNK = 90
FEWEST_CLIPS = 60
LONE_RUN = 9  # this participant drove once, as in the real data

#: Test and validation participants of the official splits; the others train.
TEST = ((5, 11, 13), (9, 10, 12), (4, 6, 7))
VAL = ((14, 15), (3, 8), (1, 2))

#: Share of the clips; an activity's reverse has as many. `sitting_still` takes what remains.
SHARES = {
    "eating": 0.115,
    "reading_magazine": 0.09,
    "talking_on_phone": 0.07,
    "using_multimedia_display": 0.07,
    "drinking": 0.05,
    "fastening_seat_belt": 0.043,
    "opening_bottle": 0.043,
    "putting_on_sunglasses": 0.037,
    "opening_laptop": 0.033,
}
MAJORITY = "sitting_still"
MOTIONS = frozenset(REVERSED.values())
BACKWARD = {forward: backward for backward, forward in REVERSED.items()}

#: Labels of the unsplit file alone, as in the real data.
UNSPLIT = ("standing_by_the_door", "closing_backpack")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of an annotation file."""

    participant_id: int
    file_id: str
    annotation_id: int
    frame_start: int
    frame_end: int
    activity: str
    chunk_id: int


@dataclass(slots=True)
class Video:
    """One run of one participant: its takes, each with the frame at which it starts."""

    participant: int
    file_id: str
    takes: list[tuple[int, Take]] = field(default_factory=list)
    frames: int = 0

    def seen_by(self, view: View) -> Video:
        """Return the same takes as another camera counts their frames."""
        file_id = f"{self.file_id.rpartition('.')[0]}.{view.suffix}"
        takes = [(start - view.late, take) for start, take in self.takes]
        return Video(self.participant, file_id, takes, self.frames - view.late)

    def rows(self) -> list[Row]:
        """Cut the takes into chunks of at most three seconds."""
        return [
            Row(
                self.participant,
                self.file_id,
                number,
                start + offset,
                min(start + offset + CHUNK, start + take.frames),
                take.activity,
                chunk,
            )
            for number, (start, take) in enumerate(self.takes)
            for chunk, offset in enumerate(range(0, take.frames, CHUNK))
        ]


def plan_videos(seed: int, clips: int) -> list[Video]:
    """Plan every video of the data set.

    Parameters
    ----------
    seed : int
    clips : int
        Rows of the split files; the unsplit file has a few more.

    Returns
    -------
    list of Video
        By participant and run.

    Raises
    ------
    InputError
        If there are too few clips to show every activity in every part.
    """
    if clips < FEWEST_CLIPS:
        raise InputError(
            f"{clips} clips cannot show every activity in every split; ask for "
            f"{FEWEST_CLIPS} or more"
        )
    rng = np.random.default_rng([seed, 1])
    takes: dict[int, list[list[Take]]] = {p: [] for p in PARTICIPANTS}
    for activity, count in _counts(clips).items():
        load = {p: len(groups) for p, groups in takes.items()}
        for participant, share in _dealt(count, load, rng).items():
            takes[participant] += _acted(activity, share, rng)
    videos = []
    for participant in PARTICIPANTS:
        videos += _runs(participant, takes[participant], rng)
    return videos


def parts_of(split: int) -> dict[str, frozenset[int]]:
    """Return the participants of the parts of an official split."""
    test, val = frozenset(TEST[split]), frozenset(VAL[split])
    return {"train": frozenset(PARTICIPANTS) - test - val, "val": val, "test": test}


def _counts(clips: int) -> dict[str, int]:
    counts = {a: max(len(TEST), round(share * clips)) for a, share in SHARES.items()}
    spent = sum(count * (2 if a in MOTIONS else 1) for a, count in counts.items())
    return {MAJORITY: clips - spent, **counts}


def _dealt(count: int, load: Mapping[int, int], rng: np.random.Generator) -> Counter[int]:
    # One from each test group first: every activity is then in every test and train part.
    first = [int(rng.choice(group)) for group in TEST]
    others = [p for p in PARTICIPANTS if p not in first]
    # Then to whoever has the least to do, so that nobody is left without a clip.
    order = first + sorted((int(p) for p in rng.permutation(others)), key=lambda p: load[p])
    return Counter(order[k % len(order)] for k in range(count))


def _acted(activity: str, chunks: int, rng: np.random.Generator) -> list[list[Take]]:
    """Turn a participant's share into takes; those that belong to one run are kept together."""
    groups = []
    while chunks > 0:
        if activity in MOTIONS:
            size, frames = 1, int(rng.integers(42, 76))
        else:
            size = min(chunks, int(rng.choice([1, 1, 2, 3])))
            frames = (size - 1) * CHUNK + int(rng.integers(30, CHUNK - 4))
            if activity == MAJORITY and size > 1 and rng.random() < 0.2:
                # What is left over after whole chunks can be very short.
                frames = (size - 1) * CHUNK + int(rng.integers(3, 8))
        take = Take(activity=activity, frames=frames, seed=int(rng.integers(2**31)))
        backward = BACKWARD.get(activity)
        groups.append([take, replace(take, activity=backward)] if backward else [take])
        chunks -= size
    return groups


def _runs(participant: int, groups: list[list[Take]], rng: np.random.Generator) -> list[Video]:
    names = ("run1b",) if participant == LONE_RUN else ("run1", "run2")
    chosen = np.arange(len(groups)) % len(names)
    rng.shuffle(chosen)
    day, hour = int(rng.integers(2, 29)), int(rng.integers(9, 17))
    videos = []
    for run, name in enumerate(names):
        minute, second = (int(n) for n in rng.integers(0, 60, 2))
        stamp = f"2024-05-{day:02d}-{hour + run:02d}-{minute:02d}-{second:02d}"
        file_id = f"vp{participant}/{name}_{stamp}.{VIEWS[0].suffix}"
        mine = [group for group, to in zip(groups, chosen, strict=True) if to == run]
        takes = _ordered(mine, rng)
        if run == 0 and participant % 5 == 1:
            takes.insert(0, _extra(UNSPLIT[0], rng))
        if run == 0 and participant % 5 == 2:
            takes.append(_extra(UNSPLIT[1], rng))
        videos.append(_timed(Video(participant, file_id), takes, rng))
    return videos


def _extra(activity: str, rng: np.random.Generator) -> Take:
    seed, frames = int(rng.integers(2**31)), int(rng.integers(40, CHUNK))
    return Take(activity=activity, frames=frames, seed=seed)


def _ordered(groups: Sequence[list[Take]], rng: np.random.Generator) -> list[Take]:
    takes = []
    for group in groups:
        belt, sunglasses = bool(rng.random() < 0.6), bool(rng.random() < 0.2)
        takes += [replace(take, belt=belt, sunglasses=sunglasses) for take in group]
    shuffled = [takes[k] for k in rng.permutation(len(takes))]
    # Whoever wears a belt keeps it on for a while: one change a run, not one a clip.
    return sorted(shuffled, key=lambda take: (take.belt, take.sunglasses))


def _timed(video: Video, takes: Sequence[Take], rng: np.random.Generator) -> Video:
    for take in takes:
        start = video.frames + int(rng.integers(6, 14))  # unannotated frames between two takes
        video.takes.append((start, take))
        video.frames = start + take.frames
    video.frames += 10
    return video
