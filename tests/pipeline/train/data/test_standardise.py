from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

import featstore
from featstore import Store
from pipeline.runs.files import read_metrics
from pipeline.train.data import standardise
from pipeline.train.data.standardise import FLOOR, PRIOR_STEPS, How, standardiser
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.fakes import FakeStore
from tests.stores import write_store

DIM = 3
MODES = [how for how in get_args(How) if how != "none"]
# Of each clip: video, subject, part, first frame, steps, frames between two steps, status.
CLIPS = [
    ("a", "ann", "train", 0, 5, 2, 0),
    ("a", "ann", "train", 4, 2, 2, 0),  # within the first one, and over before it
    ("a", "ann", "train", 20, 1, 1, 0),
    ("b", "ann", "train", 3, 6, 1, 0),
    ("b", "ann", "train", 5, 4, 1, 1),  # not whole
    ("c", "bob", "val", 0, 4, 3, 0),
    ("c", "bob", "val", 12, 7, 1, 0),
    ("d", "bob", "val", 0, 3, 1, 0),
    ("e", "cid", "test", 7, 2, 1, 1),  # the only one of its video and subject
]


def made(seed: int = 0) -> FakeStore:
    rng = np.random.default_rng(seed)
    clips = [
        rng.normal(size=(clip[4], DIM)) * [1, 20, 1e-3] + [0, 300, 1] + number
        for number, clip in enumerate(CLIPS)
    ]
    videos, subjects, parts, firsts, sizes, gaps, status = zip(*CLIPS, strict=True)
    store = FakeStore(
        [
            np.full_like(clip, np.nan) if bad else clip
            for clip, bad in zip(clips, status, strict=True)
        ],
        [number % 2 for number in range(len(CLIPS))],
        list(parts),
        subjects=list(subjects),
        status=list(status),
    )
    store.videos = np.array(videos)
    frames = [f + g * np.arange(n) for f, g, n in zip(firsts, gaps, sizes, strict=True)]
    numbers = np.unique(videos, return_inverse=True)[1]
    store.columns = {"video": numbers, "frame": np.concatenate(frames)}
    return store


def tables(store: Store, how: How) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of every clip."""
    found = standardiser(store, how, store.split("train"))
    assert found is not None
    group = found.group.numpy()
    return found.mean.numpy()[group], found.std.numpy()[group]


def seen(store: FakeStore, clip: int, how: How) -> Iterator[np.ndarray]:
    """Every step that counts for a clip, one by one."""
    frames, offsets = store.columns["frame"], store.offsets
    last = frames[offsets[clip + 1] - 1]
    for other in store.usable.tolist():
        if how == "train" and store.splits[other] != "train":
            continue
        if how == "clip" and other != clip:
            continue
        if how == "subject" and store.subjects[other] != store.subjects[clip]:
            continue
        if how in ("recording", "causal") and store.videos[other] != store.videos[clip]:
            continue
        for row in range(offsets[other], offsets[other + 1]):
            if how != "causal" or frames[row] <= last:
                yield store.rows.array[row].astype(np.float64)


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("block", [3, 256])
def test_tables_against_loops(how: How, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standardise, "BLOCK_STEPS", block)
    store = made()
    training = np.array(list(seen(store, 0, "train")))
    means, stds = tables(store, how)
    for clip in store.usable.tolist():
        steps = np.array(list(seen(store, clip, how)))
        mean, square = steps.mean(axis=0), (steps**2).mean(axis=0)
        if how == "causal":
            n, k = len(steps), PRIOR_STEPS
            mean = (n * mean + k * training.mean(axis=0)) / (n + k)
            square = (n * square + k * (training**2).mean(axis=0)) / (n + k)
        std = np.maximum(np.sqrt(square - mean**2), FLOOR * training.std(axis=0))
        np.testing.assert_allclose(means[clip], mean, rtol=1e-6)
        np.testing.assert_allclose(stds[clip], std, rtol=1e-4)


@pytest.mark.parametrize("how", MODES)
def test_results_are_repeated_to_the_bit_and_labels_are_not_looked_at(how: How) -> None:
    store, other = made(), made()
    other.labels = other.labels[::-1].copy()
    for one, another in zip(tables(store, how), tables(other, how), strict=True):
        assert np.array_equal(one, another)


def test_causal_sees_nothing_behind_the_end_of_a_clip() -> None:
    store, changed = made(), made()
    # The last steps of the second clip of video c; of what is before, nothing changes.
    clip = 6
    changed[clip][-1] += 100
    before, after = tables(store, "causal"), tables(changed, "causal")
    for one, another in zip(before, after, strict=True):
        same = (one == another).all(axis=1)
        assert np.flatnonzero(~same).tolist() == [clip]
    # The nested clip ends before the one that it lies in: it does not know that one's last step.
    changed = made()
    changed[0][-1] += 100
    found = standardiser(changed, "causal", changed.split("val"))
    plain = standardiser(store, "causal", store.split("val"))
    assert found is not None
    assert plain is not None
    nested = int(found.group[1])
    assert torch.equal(found.mean[nested], plain.mean[nested])
    assert not torch.equal(found.mean[found.group[0]], plain.mean[plain.group[0]])


@pytest.mark.parametrize("how", ["train", "recording", "subject"])
def test_modes_see_no_more_than_they_say(how: How) -> None:
    store, changed = made(), made()
    changed[7][:] += 100  # video d, of bob, in val
    same = [
        (a == b).all(axis=1) for a, b in zip(tables(store, how), tables(changed, how), strict=True)
    ]
    changes = np.flatnonzero(~(same[0] & same[1])).tolist()
    assert changes == {"train": [], "recording": [7], "subject": [5, 6, 7]}[how]


@pytest.mark.parametrize("how", MODES)
def test_features_that_are_constant_stay_finite(how: How) -> None:
    store = made()
    store.rows.array[np.isfinite(store.rows.array[:, 0]), 0] = 0.1
    for clip in (5, 6):
        store[clip][:, 1] = 1e6  # in one video only
    found = standardiser(store, how, store.split("train"))
    assert found is not None
    for clip in store.usable.tolist():
        got = found(torch.from_numpy(store[clip][None].copy()), np.array([clip]))
        assert torch.isfinite(got).all()
        assert not got[..., 0].any()
        if how == "recording" and clip in (5, 6):
            assert not got[..., 1].any()


def test_a_video_without_whole_clips_gets_the_training_clips_numbers() -> None:
    store = made()
    for how in MODES:
        mean, std = tables(store, how)
        assert np.isfinite(mean).all()
        assert np.isfinite(std).all()
    assert np.array_equal(tables(store, "recording")[0][8], tables(store, "train")[0][0])


@pytest.mark.parametrize("how", MODES)
def test_clips_of_another_store_are_standardised_by_what_was_kept_of_training(how: How) -> None:
    store = made()
    whole = standardiser(store, how, store.split("train"))
    assert whole is not None
    training = np.array(list(seen(store, 0, "train")))
    np.testing.assert_allclose(whole.training.mean, training.mean(axis=0))
    np.testing.assert_allclose(whole.training.std, training.std(axis=0), rtol=1e-6)
    kept = standardiser(store, how, whole.training)
    assert kept is not None
    torch.testing.assert_close(kept.mean, whole.mean)
    torch.testing.assert_close(kept.std, whole.std, rtol=1e-4, atol=0)
    # A store without any training clip is enough.
    store.splits[:] = "test"
    alone = standardiser(store, how, whole.training)
    assert alone is not None
    assert torch.equal(alone.mean, kept.mean)


@pytest.mark.parametrize("how", ["train", "recording"])
def test_standardised_steps_have_mean_0_and_std_1_in_a_batch(how: How) -> None:
    store = made()
    found = standardiser(store, how, store.split("train"))
    assert found is not None
    clips = np.array([0, 1, 2, 3]) if how == "train" else np.array([5, 6])
    batch = store.batch(clips)
    steps = found(torch.from_numpy(batch.features), clips)[torch.from_numpy(batch.mask)]
    torch.testing.assert_close(steps.mean(0), torch.zeros(DIM), atol=1e-3, rtol=0)
    torch.testing.assert_close(steps.std(0, correction=0), torch.ones(DIM), atol=1e-3, rtol=0)


class Watched:
    """Rows that note how many of them were read at once."""

    def __init__(self, store: FakeStore) -> None:
        self.rows, self.most, self.read = store.rows, 0, 0

    def span(self, start: int, stop: int) -> np.ndarray:
        self.most, self.read = max(self.most, stop - start), self.read + stop - start
        return self.rows.span(start, stop)


def test_rows_are_read_once_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standardise, "BLOCK_STEPS", 4)
    for how in MODES:
        store = made()
        watched = store.rows = Watched(store)  # type: ignore[assignment]
        store.__class__ = type("Counted", (FakeStore,), {"__getitem__": lambda s, i: s.first})
        store.first = made()[0]  # type: ignore[attr-defined]
        tables(store, how)
        assert watched.most == 4
        assert watched.read <= len(watched.rows.array)
        if how == "train":  # blocks without a training step are passed over
            assert watched.read < len(watched.rows.array)


@pytest.mark.parametrize("how", MODES)
def test_stores_on_disk(tmp_path: Path, how: How) -> None:
    store = featstore.open(write_store(tmp_path / "s.zarr"))
    mean, std = tables(store, how)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


@pytest.mark.parametrize("how", get_args(How))
def test_recipes_standardise_and_reports_say_what_saw_unlabelled_data(
    tmp_path: Path, how: str
) -> None:
    changes = ["data.steps=null", "train.epochs=1", "head.hidden=4", f"data.standardise={how}"]
    run = train(made(), load_recipe("baseline", changes), out=tmp_path / "run", log=_quiet)
    assert read_metrics(run)["standardise"] == how
    rows = [row for row in (run / "report.md").read_text().splitlines() if "nlabelled" in row]
    if how in ("none", "train", "clip"):
        assert rows == []
    else:
        (row,) = rows
        assert row.startswith("Unlabelled val and test data: used.")
        assert ("subject" if how == "subject" else "recording") in row


def test_standardised_training_does_not_depend_on_units(tmp_path: Path) -> None:
    recipe = load_recipe(
        "baseline", ["data.steps=null", "train.epochs=2", "head.hidden=4", "data.standardise=train"]
    )
    losses: list[Any] = []
    for factor in (1, 1024):
        store = made()
        store.rows.array *= factor
        run = train(store, recipe, out=tmp_path / str(factor), log=_quiet)
        losses.append((run / "predictions.csv").read_text())
    assert losses[0] == losses[1]


def _quiet(line: str) -> None:
    pass
