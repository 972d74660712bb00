"""Which clips several stores share, and which of their steps are of the same time. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featstore.errors import InputError
from featstore.format.schema import STATUS_OK

if TYPE_CHECKING:
    from featstore.reading.store import Store

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
NAMED = 3  # clips that a message names
_ROUNDING = 1 + 1e-6
_TIE = 1e-6  # seconds by which two distances have to differ


def shared_clips(stores: Sequence[Store]) -> tuple[list[Ints], list[list[str]]]:
    """Find the clips that all stores have, and those that only some have.

    Parameters
    ----------
    stores : sequence of Store

    Returns
    -------
    positions : list of int64 arrays (clips,), one a store
        Of the shared clips, in the order of the first store. Each is whole in all stores, or in
        none.
    missing : list of list of str, one a store
        Ids of the clips that are whole in another store, and failed or not there in this one.
    """
    places = [dict(zip(own.clip_ids.tolist(), range(len(own)), strict=True)) for own in stores]
    whole = [set(own.clip_ids[usable(own)].tolist()) for own in stores]
    anywhere = set.union(*whole)
    missing = [sorted(anywhere - own) for own in whole]
    lost = set.union(*map(set, missing))
    ids = [clip for clip in places[0] if clip not in lost and all(clip in own for own in places)]
    return [np.array([own[clip] for clip in ids], np.int64) for own in places], missing


def usable(store: Store) -> NDArray[np.bool_]:
    """Tell which clips have features that are whole, bool (clips,)."""
    whole: NDArray[np.bool_] = (store.status == STATUS_OK) & (store.row_size > 0)
    return whole


def refuse_disagreement(first: Store, other: Store) -> None:
    """Refuse two stores that say different things of the clips that both have.

    Raises
    ------
    InputError
        If they have other class lists, or a clip has another label, subject or split.
    """
    both = f"{first.path} and {other.path}"
    if first.classes != other.classes:
        odd = sorted({*first.classes} ^ {*other.classes})
        raise InputError(
            f"{both} have different classes: {len(first.classes)} and {len(other.classes)}, "
            f"{'in one only, such as ' + listed(odd) if odd else 'in another order'}; build both "
            "with the same --classes"
        )
    if first.subjects_known != other.subjects_known:
        raise InputError(
            f"of {both} one knows the subjects of its clips and one does not; build both from "
            "annotations with subjects"
        )
    _, ours, theirs = np.intersect1d(first.clip_ids, other.clip_ids, return_indices=True)
    names = np.array(first.classes)
    fields = {
        "label": (names[first.labels[ours]], names[other.labels[theirs]]),
        "split": (first.splits[ours], other.splits[theirs]),
    }
    if first.subjects_known:  # else every video stands in for one, and views have their own
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
    """Return for every step of some clips of `first` the row of `other` that is nearest in time.

    Where both clips are of the same video, times are compared as they are. Cameras start at
    different moments, so clips of different videos are laid with the middle of one interval on that
    of the other; where one of these is not known, with the middle between the first and the last
    step. Where a time is not known, steps are counted instead.

    Parameters
    ----------
    first, other : Store
    ours, theirs : int64 arrays (clips,)
        Positions of the same clips, all of them usable.

    Returns
    -------
    int64 array (steps,)
        Clip after clip; of two rows equally near, the earlier one.

    Raises
    ------
    InputError
        If a clip is of another length in the other store, by more than a step.
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


def nearest(times: Floats, sizes: Ints, known: Floats, known_sizes: Ints) -> Ints:
    """Find for every time the nearest known one of the same clip.

    Parameters
    ----------
    times, known : float64 arrays (steps,), (known steps,)
        Clip after clip, ascending in each.
    sizes, known_sizes : int64 arrays (clips,)
        How many are whose, at least one.

    Returns
    -------
    int64 array (steps,)
        Positions in `known`; of two equally near, the earlier one.

    Examples
    --------
    >>> sizes, known = np.array([3]), np.array([0.0, 0.5])
    >>> nearest(np.array([0.0, 0.25, 0.4]), sizes, known, np.array([2])).tolist()
    [0, 0, 1]
    """
    clip, known_clip = (np.arange(len(n)).repeat(n) for n in (sizes, known_sizes))
    # Clips far apart on one axis, so that one search finds the places in all of them.
    far = 4 * max(np.abs(times).max(initial=0), np.abs(known).max(initial=0)) + 1
    axis = known + far * known_clip
    after = np.searchsorted(axis, times + far * clip)
    last = known_sizes.cumsum()[clip] - 1
    first = last - known_sizes[clip] + 1
    before, after = (np.clip(place, first, last) for place in (after - 1, after))
    before = np.searchsorted(axis, axis[before])  # where a video stalls, times repeat
    nearer = np.abs(known[after] - times) < np.abs(known[before] - times) - _TIE
    found: Ints = np.where(nearer, after, before)
    return found


def ranges(starts: Ints, sizes: Ints) -> Ints:
    """Count from each start so many numbers, one after the other.

    Examples
    --------
    >>> ranges(np.array([7, 2]), np.array([2, 3])).tolist()
    [7, 8, 2, 3, 4]
    """
    found: Ints = np.arange(sizes.sum()) + (starts - sizes.cumsum() + sizes).repeat(sizes)
    return found


def _middles(times: Floats, sizes: Ints) -> Floats:
    """Return the middle between the first and the last time of every clip."""
    last = sizes.cumsum() - 1
    middles: Floats = (times[last - sizes + 1] + times[last]) / 2
    return middles


def _interval_middles(store: Store, clips: Ints) -> Floats:
    """Return the time of the middle of every clip's ``[start, stop)``; NaN where it is not known.

    It is told from the first step, whose frame is known. The time of a window is behind that of its
    first frame: by how much shows beside the video's first frame, whose time is 0, and cannot be
    more than half of what is left of the interval behind the time of the last step.
    """
    said = store.attributes.get("features", {})
    start, stop = store.start[clips], store.stop[clips]
    begin, end = _ends(store, clips)
    frame, time = store.columns["frame"][begin], store.columns["time"][begin]
    whole, own = _frame_seconds(store, clips)
    rest = (stop - frame) * own - (store.columns["time"][end] - time)
    behind = np.minimum(time - frame * whole, rest / 2).clip(0)
    if said.get("window", "not known") is None:  # steps are frames
        behind[:] = 0
    middles: Floats = time - behind + ((start + stop) / 2 - frame) * own
    if "imported" in said:  # where no interval was given, it counts steps
        middles[(start == 0) & (stop == store.row_size[clips])] = np.nan
    return middles


def _of_videos(store: Store, name: str) -> NDArray[np.str_]:
    """Return something of every clip's video."""
    found: NDArray[np.str_] = store.columns[f"video_{name}"][store.columns["video"]]
    return found


def _refuse_other_lengths(
    first: Store, ours: Ints, other: Store, theirs: Ints, same: NDArray[np.bool_], *, timed: bool
) -> None:
    """Refuse clips that are longer in one store; of the same video, also ones that lie elsewhere.

    A step is a clip's length by the number of its steps. Of a video that has but one step, the
    length in seconds is not known, and nothing is said.
    """
    sizes = (first.row_size[ours], other.row_size[theirs])
    bounds = [
        (own.start[clips], own.stop[clips]) for own, clips in ((first, ours), (other, theirs))
    ]
    periods = [
        np.where(same, 1, _frame_seconds(own, clips)[1])
        for own, clips in ((first, ours), (other, theirs))
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
        named = listed([str(first.clip_ids[ours[clip]]) for clip in wrong])
        raise InputError(
            f"{wrong.size} of {len(ours)} clips do not cover the same time in {first.path} and "
            f"{other.path}, by more than a step, such as {named}; build both from annotations of "
            "the same intervals, or with a lower --fps"
        )


def _frame_seconds(store: Store, clips: Ints) -> tuple[Floats, Floats]:
    """Measure the seconds of a frame in the video of every clip, and in the clip itself.

    Of a clip with but one step its video's are taken, which are NaN where that has but one.
    """
    count, video = len(store.columns["video_name"]), store.columns["video"].repeat(store.row_size)
    begin, end = _ends(store, clips)
    low, high = np.full((2, count), np.nan), np.full((2, count), np.nan)
    own = np.empty((2, len(clips)))
    for row, name in enumerate(("time", "frame")):
        column = store.columns[name]
        np.fmin.at(low[row], video, column)
        np.fmax.at(high[row], video, column)
        own[row] = column[end] - column[begin]
    seconds, frames = high - low
    whole = np.divide(seconds, frames, out=np.full(count, np.nan), where=frames > 0)
    whole = whole[store.columns["video"][clips]]
    return whole, np.divide(own[0], own[1], out=whole.copy(), where=own[1] > 0)


def _ends(store: Store, clips: Ints) -> tuple[Ints, Ints]:
    """Return the first and the last row of every clip."""
    return store.offsets[clips], store.offsets[clips] + store.row_size[clips] - 1


def listed(names: Sequence[str]) -> str:
    """Name the first few.

    Examples
    --------
    >>> listed(["a", "b", "c", "d"])
    'a, b, c'
    """
    return ", ".join(names[:NAMED])
