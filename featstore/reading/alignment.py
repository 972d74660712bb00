"""Find the clips that several stores share, and align their steps in time. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.format.schema import STATUS_OK
from featstore.text import listed
from featstore.types import Floats, Ints

if TYPE_CHECKING:
    from featstore.reading.store import Store

NAMED = 3  # most clips that a message names
_ROUNDING = 1 + 1e-6
_TIE = 1e-6  # smallest difference of two distances, in seconds


def shared_clips(stores: Sequence[Store]) -> tuple[list[Ints], list[list[str]]]:
    """Return the clips that all stores have, and the ids of clips that only some have.

    Parameters
    ----------
    stores : sequence of Store

    Returns
    -------
    positions : list of int64 arrays (clips,), one per store
        Of the shared clips, in the order of the first store. Each clip is whole in all stores,
        or failed in all.
    missing : list of list of str, one per store
        Ids of the clips that are whole in another store, but failed or missing in this one.
    """
    positions = [
        dict(zip(store.clip_ids.tolist(), range(len(store)), strict=True)) for store in stores
    ]
    whole = [set(store.clip_ids[usable(store)].tolist()) for store in stores]
    anywhere = set.union(*whole)
    missing = [sorted(anywhere - ids) for ids in whole]
    lost = set.union(*map(set, missing))
    shared = [
        clip
        for clip in positions[0]
        if clip not in lost and all(clip in by_id for by_id in positions)
    ]
    return [np.array([by_id[clip] for clip in shared], np.int64) for by_id in positions], missing


def usable(store: Store) -> NDArray[np.bool_]:
    """Return a mask of the clips with whole features, bool (clips,)."""
    whole: NDArray[np.bool_] = (store.status == STATUS_OK) & (store.row_size > 0)
    return whole


def refuse_disagreement(first: Store, other: Store) -> None:
    """Refuse two stores that disagree about their shared clips.

    Raises
    ------
    InputError
        If the class lists differ, or a clip's label, subject or split.
    """
    both = f"{first.path} and {other.path}"
    if first.classes != other.classes:
        odd = sorted({*first.classes} ^ {*other.classes})
        raise InputError(
            f"{both} have different classes: {len(first.classes)} and {len(other.classes)}, "
            f"{'in one only, such as ' + listed(odd[:NAMED]) if odd else 'in another order'}; "
            "build both with the same --classes"
        )
    if first.subjects_known != other.subjects_known:
        raise InputError(
            f"only one of {both} has the subjects of its clips; build both from annotations with "
            "subjects"
        )
    _, ours, theirs = np.intersect1d(first.clip_ids, other.clip_ids, return_indices=True)
    names = np.array([*first.classes, ""])
    fields = {
        "label": (names[first.labels[ours]], names[other.labels[theirs]]),
        "split": (first.splits[ours], other.splits[theirs]),
    }
    # Without subjects each video counts as one, and views have different videos.
    if first.subjects_known:
        fields["subject"] = (first.subjects[ours], other.subjects[theirs])
    for field, (one, two) in fields.items():
        if (wrong := np.flatnonzero(one != two)).size:
            clip = wrong[0]
            raise InputError(
                f"clip {first.clip_ids[ours[clip]]}: its {field} is {one[clip]} in {first.path} "
                f"and {two[clip]} in {other.path} ({wrong.size} of {len(ours)} clips differ); "
                "build both from the same annotations and split"
            )


def aligned(first: Store, ours: Ints, other: Store, theirs: Ints) -> Ints:
    """Return, for each step of some clips of `first`, the row of `other` that is nearest in time.

    Times of the same video are compared directly. Cameras start at different moments, so clips of
    different videos are aligned on the midpoints of their intervals. If an interval is unknown,
    the midpoint is the mean of the first and last time. Without times, steps are counted.

    Parameters
    ----------
    first, other : Store
    ours, theirs : int64 arrays (clips,)
        Positions of the same clips, all usable.

    Returns
    -------
    int64 array (steps,)
        Clip by clip; the earlier row wins a tie.

    Raises
    ------
    InputError
        If the lengths of a clip differ by more than a step between the stores.
    """
    sizes, their_sizes = first.row_size[ours], other.row_size[theirs]
    rows = ranges(first.offsets[ours], sizes)
    their_rows = ranges(other.offsets[theirs], their_sizes)
    time, their_time = first.columns["time"][rows], other.columns["time"][their_rows]
    timed = not np.isnan(time).any() and not np.isnan(their_time).any()
    if not timed:
        time, their_time = (ranges(0 * n, n).astype(np.float64) for n in (sizes, their_sizes))
    same = (_of_videos(first, "sha256")[ours] == _of_videos(other, "sha256")[theirs]) & timed
    _refuse_other_lengths(first, ours, other, theirs, same, timed=timed)
    middles = np.stack([_middles(time, sizes), _middles(their_time, their_sizes)])
    if timed:
        real = np.stack([_interval_middles(first, ours), _interval_middles(other, theirs)])
        middles = np.where(np.isfinite(real).all(axis=0), real, middles)
    shift, their_shift = np.where(same, 0, middles)
    time, their_time = time - shift.repeat(sizes), their_time - their_shift.repeat(their_sizes)
    return their_rows[nearest(time, sizes, their_time, their_sizes)]


def nearest(times: Floats, sizes: Ints, candidates: Floats, candidate_sizes: Ints) -> Ints:
    """Return, for each time, the position of the nearest candidate of the same clip.

    Parameters
    ----------
    times, candidates : float64 arrays (steps,), (candidate steps,)
        Clip by clip, ascending within a clip.
    sizes, candidate_sizes : int64 arrays (clips,)
        Number of times and candidates of each clip, at least one.

    Returns
    -------
    int64 array (steps,)
        Positions in `candidates`; the earlier one wins a tie.

    Examples
    --------
    >>> sizes, candidates = np.array([3]), np.array([0.0, 0.5])
    >>> nearest(np.array([0.0, 0.25, 0.4]), sizes, candidates, np.array([2])).tolist()
    [0, 0, 1]
    """
    clip, candidate_clip = (np.arange(len(n)).repeat(n) for n in (sizes, candidate_sizes))
    # Shift the clips far apart on one axis, so that a single search covers all of them.
    far = 4 * max(np.abs(times).max(initial=0), np.abs(candidates).max(initial=0)) + 1
    axis = candidates + far * candidate_clip
    after = np.searchsorted(axis, times + far * clip)
    last = candidate_sizes.cumsum()[clip] - 1
    first = last - candidate_sizes[clip] + 1
    before, after = (np.clip(position, first, last) for position in (after - 1, after))
    before = np.searchsorted(axis, axis[before])  # times repeat where a video stalls
    nearer = np.abs(candidates[after] - times) < np.abs(candidates[before] - times) - _TIE
    positions: Ints = np.where(nearer, after, before)
    return positions


def ranges(starts: Ints, sizes: Ints) -> Ints:
    """Return `sizes[i]` consecutive numbers from each `starts[i]`, concatenated.

    Examples
    --------
    >>> ranges(np.array([7, 2]), np.array([2, 3])).tolist()
    [7, 8, 2, 3, 4]
    """
    numbers: Ints = np.arange(sizes.sum()) + (starts - sizes.cumsum() + sizes).repeat(sizes)
    return numbers


def _middles(times: Floats, sizes: Ints) -> Floats:
    """Return the mean of the first and the last time of every clip."""
    last = sizes.cumsum() - 1
    middles: Floats = (times[last - sizes + 1] + times[last]) / 2
    return middles


def _interval_middles(store: Store, clips: Ints) -> Floats:
    """Return the time of the midpoint of every clip's ``[start, stop)``; NaN if it is unknown.

    The frame of the first step is known. A window's time is later than that of its first frame.
    The delay follows from the video's first frame at time 0, and is at most half of the interval
    that remains after the last step.
    """
    features = store.attributes.get("features", {})
    start, stop = store.start[clips], store.stop[clips]
    begin, end = _ends(store, clips)
    frame, time = store.columns["frame"][begin], store.columns["time"][begin]
    whole, frame_seconds = _frame_seconds(store, clips)
    rest = (stop - frame) * frame_seconds - (store.columns["time"][end] - time)
    delay = np.minimum(time - frame * whole, rest / 2).clip(0)
    if features.get("window", "not known") is None:  # steps are frames
        delay[:] = 0
    middles: Floats = time - delay + ((start + stop) / 2 - frame) * frame_seconds
    if "imported" in features:  # without an annotated interval, it counts steps
        middles[(start == 0) & (stop == store.row_size[clips])] = np.nan
    return middles


def _of_videos(store: Store, name: str) -> NDArray[np.str_]:
    """Return a video column for every clip."""
    values: NDArray[np.str_] = store.columns[f"video_{name}"][store.columns["video"]]
    return values


def _refuse_other_lengths(
    first: Store, ours: Ints, other: Store, theirs: Ints, same: NDArray[np.bool_], *, timed: bool
) -> None:
    """Refuse clips with different lengths; in the same video, also with different positions.

    A step lasts the clip's length divided by its number of steps. In a video with a single step
    the length in seconds is unknown, and its clips are not checked.
    """
    sizes = (first.row_size[ours], other.row_size[theirs])
    bounds = [
        (store.start[clips], store.stop[clips]) for store, clips in ((first, ours), (other, theirs))
    ]
    periods = [
        np.where(same, 1, _frame_seconds(store, clips)[1])
        for store, clips in ((first, ours), (other, theirs))
    ]
    if timed:
        lengths = [(b - a) * period for (a, b), period in zip(bounds, periods, strict=True)]
    else:
        lengths = [size.astype(np.float64) for size in sizes]
    apart = np.abs(lengths[0] - lengths[1])
    (start, stop), (their_start, their_stop) = bounds
    moved = np.maximum(np.abs(start - their_start), np.abs(stop - their_stop))
    apart = np.where(same, moved, apart)
    step = np.maximum(*(length / size for length, size in zip(lengths, sizes, strict=True)))
    if (wrong := np.flatnonzero(apart > step * _ROUNDING)).size:
        names = [str(first.clip_ids[ours[clip]]) for clip in wrong]
        raise InputError(
            f"{wrong.size} of {len(ours)} clips differ by more than a step in time between "
            f"{first.path} and {other.path}, such as {listed(names[:NAMED])}; build both from "
            "annotations of the same intervals, or with a lower --fps"
        )


def _frame_seconds(store: Store, clips: Ints) -> tuple[Floats, Floats]:
    """Return the seconds per frame in the video of every clip, and in the clip itself.

    A clip with a single step uses those of its video; NaN if the video has a single step too.
    """
    count, video = len(store.columns["video_name"]), store.columns["video"].repeat(store.row_size)
    begin, end = _ends(store, clips)
    low, high = np.full((2, count), np.nan), np.full((2, count), np.nan)
    spans = np.empty((2, len(clips)))
    for row, name in enumerate(("time", "frame")):
        column = store.columns[name]
        np.fmin.at(low[row], video, column)
        np.fmax.at(high[row], video, column)
        spans[row] = column[end] - column[begin]
    seconds, frames = high - low
    whole = np.divide(seconds, frames, out=np.full(count, np.nan), where=frames > 0)
    whole = whole[store.columns["video"][clips]]
    return whole, np.divide(spans[0], spans[1], out=whole.copy(), where=spans[1] > 0)


def _ends(store: Store, clips: Ints) -> tuple[Ints, Ints]:
    """Return the first and the last row of every clip."""
    return store.offsets[clips], store.offsets[clips] + store.row_size[clips] - 1
