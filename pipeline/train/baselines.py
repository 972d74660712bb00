"""Training-free baselines: two classifiers without weights.

A clip is represented by the mean over time of the head's input: standardised, and resampled if the
recipe resamples. The mean of the training clips is subtracted, and the result scaled to length 1,
as in Wang et al., "SimpleShot: revisiting nearest-neighbor classification for few-shot learning",
2019. Standardising each clip by itself would make that mean zero, so those recipes use the raw
features here.

    nearest class mean    the class whose training clips have the nearest mean: Mensink et al.,
                          "Distance-based image classification: generalizing to new classes at
                          near-zero cost", TPAMI 2013
    nearest neighbours    the vote of the k nearest training clips, with the k that has the best
                          mean class accuracy on val

Distances are Euclidean. Clips have length 1, so cosine distances give the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from featstore import Store
from pipeline.metrics.classification import Metrics, metrics_of_predictions
from pipeline.runs.files import PARTS
from pipeline.system.device import choose_device
from pipeline.train.data.checks import Parts, checked_parts
from pipeline.train.data.feed import Feed
from pipeline.train.data.standardise import standardiser
from pipeline.train.recipes.load import Recipe
from pipeline.types import Ints

Floats = npt.NDArray[np.float32]

NEIGHBOURS = (1, 5, 20)
MOST_CLIPS = 50_000  # every clip is compared with every training clip
_BATCH = 256  # clips read at once
_CELLS = 2**20  # cells of the table of votes


def baselines(store: Store, recipe: Recipe, *, device: str = "auto") -> dict[str, Any]:
    """Return the scores of training-free baselines on a store, as a run of the recipe reports them.

    Parameters
    ----------
    store : Store
    recipe : Recipe
        Only ``data`` is used: how features are standardised and resampled.
    device : str
        The device that standardises features.

    Returns
    -------
    dict
        ``nearest_class_mean`` and ``nearest_neighbours``, each with the scores of ``val`` and
        ``test`` as fractions (NaN without clips). The second also has ``k``. If they were not
        computed, only ``skipped``, with the reason.

    Raises
    ------
    InputError
        See `pipeline.train.data.checks.checked_parts`.
    """
    parts, where = checked_parts(store, recipe), choose_device(device)
    standardise = standardiser(store, recipe.data.standardise, parts["train"], device=where)
    feed = Feed(store, where, steps=recipe.data.steps, standardise=standardise)
    return baselines_of(feed, parts, recipe)


def baselines_of(feed: Feed, parts: Parts, recipe: Recipe) -> dict[str, Any]:
    """Return the baselines' scores on the batches that a head gets; see `baselines`.

    Parameters
    ----------
    feed : Feed
    parts : dict
        Positions of the clips of train, val and test.
    recipe : Recipe
    """
    if recipe.data.standardise == "clip":
        feed = Feed(feed.store, feed.device, steps=recipe.data.steps)
    labels, total = feed.store.labels, sum(map(len, parts.values()))
    if total > MOST_CLIPS:
        return _skipped(f"there are {total:,} clips, more than the limit of {MOST_CLIPS:,}")
    clips = {part: pooled(feed, clips_of_part) for part, clips_of_part in parts.items()}
    if not all(np.isfinite(clips_of_part).all() for clips_of_part in clips.values()):
        return _skipped("some features are not finite")
    centre = clips["train"].mean(axis=0)
    units = {part: at_length_one(clips_of_part - centre) for part, clips_of_part in clips.items()}
    train_units, clips_of_part = units["train"], labels[parts["train"]]
    classes = len(feed.store.classes)

    def scores(predicted: Mapping[str, Ints]) -> dict[str, Metrics]:
        return {
            part: metrics_of_predictions(labels[parts[part]], predicted[part], classes)
            for part in PARTS
        }

    means = scores(
        {part: nearest_class_mean(train_units, clips_of_part, units[part]) for part in PARTS}
    )
    near = {
        part: clips_of_part[_nearest(train_units, units[part], max(NEIGHBOURS))] for part in PARTS
    }
    votes = {
        k: scores({part: most_votes(near[part][:, :k], classes) for part in PARTS})
        for k in NEIGHBOURS
        if k <= len(train_units)
    }
    # Ties go to the smallest k.
    best = max(votes, key=lambda k: (votes[k]["val"].mean_class_accuracy, -k))
    return {
        "nearest_class_mean": _as_dicts(means),
        "nearest_neighbours": {"k": best, **_as_dicts(votes[best])},
    }


def pooled(feed: Feed, clips: Ints) -> Floats:
    """Return each clip's mean over its steps; float32 (n, dim), in the order of `clips`."""
    means = [np.zeros((0, feed.store.dim), np.float32)]
    for batch in feed.batches(clips, _BATCH):
        valid = batch.mask[..., None]
        total = batch.features.masked_fill(~valid, 0.0).sum(dim=1)
        means.append((total / valid.sum(dim=1)).cpu().numpy())
    return np.concatenate(means)


def at_length_one(rows: Floats) -> Floats:
    """Return the rows divided by their length; a row of zeros stays zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units: Floats = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return units


def nearest_class_mean(known: Floats, labels: Ints, queries: Floats) -> Ints:
    """Return the class with the nearest mean for every query.

    Parameters
    ----------
    known, queries : float32 arrays (m, dim), (n, dim)
    labels : int64 array (m,)

    Returns
    -------
    int64 array (n,)
        Only classes that have clips.

    Examples
    --------
    >>> known = np.array([[0, 1], [0, 3], [9, 9]], np.float32)
    >>> nearest_class_mean(known, np.array([0, 0, 4]), np.array([[1, 1]], np.float32))
    array([0])
    """
    classes = np.unique(labels)
    means = np.stack([known[labels == one].mean(axis=0) for one in classes])
    # Not NearestCentroid: it refuses a single class and warns of constant features.
    predicted: Ints = classes[_nearest(means, queries, 1)[:, 0]]
    return predicted


def most_votes(labels: Ints, classes: int) -> Ints:
    """Return the most frequent label of every row; ties go to the smallest label.

    Parameters
    ----------
    labels : int64 array (n, k)
    classes : int

    Examples
    --------
    >>> most_votes(np.array([[2, 1, 2], [2, 1, 0]]), 3)
    array([2, 0])
    """
    winners = np.empty(len(labels), np.int64)
    rows = max(1, _CELLS // classes)  # a table of all clips by thousands of classes is too large
    for first in range(0, len(labels), rows):
        block = labels[first : first + rows]
        counts = np.zeros((len(block), classes), np.int64)
        for column in block.T:
            counts[np.arange(len(block)), column] += 1
        winners[first : first + rows] = counts.argmax(axis=1)
    return winners


def _nearest(known: Floats, queries: Floats, count: int) -> Ints:
    """Return the nearest rows of `known`, nearest first; int64 (n, at most count)."""
    from sklearn.neighbors import NearestNeighbors  # takes a second to import

    count = min(count, len(known))
    if not len(queries):
        return np.zeros((0, count), np.int64)
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(known)
    indices: Ints = search.kneighbors(queries, return_distance=False)
    return indices


def _as_dicts(metrics_by_part: Mapping[str, Metrics]) -> dict[str, dict[str, float]]:
    return {part: metrics.scores for part, metrics in metrics_by_part.items()}


def _skipped(why: str) -> dict[str, Any]:
    return {"skipped": f"Training-free baselines were not computed: {why}."}
