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

A recipe with several folds learns from val too, so its test clips are compared with the clips of
train and val.

Distances are Euclidean. Clips have length 1, so cosine distances give the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featstore import Store
from models.heads.nearest import NearestHead
from pipeline.metrics.classification import Metrics, metrics_of_predictions
from pipeline.runs.files import PARTS
from pipeline.system.device import choose_device
from pipeline.train.data.checks import Parts, checked_parts
from pipeline.train.data.feed import Feed
from pipeline.train.data.standardise import standardiser
from pipeline.train.data.views import views_of
from pipeline.train.folds import learnt_clips
from pipeline.train.predict import means_of
from pipeline.train.recipes.load import Recipe
from pipeline.types import Ints

NEIGHBOURS = (1, 5, 20)
MOST_CLIPS = 50_000  # every clip is compared with every training clip
_BATCH = 256  # clips compared at once


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
    learnt = learnt_clips(parts, recipe)
    standardise = standardiser(store, recipe.data.standardise, learnt, device=where)
    steps, views = recipe.data.steps, views_of(store, recipe)
    feed = Feed(store, where, steps=steps, standardise=standardise, views=views)
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
        feed = Feed(feed.store, feed.device, steps=recipe.data.steps, views=feed.views)
    labels, total = feed.store.labels, sum(map(len, parts.values()))
    if total > MOST_CLIPS:
        return _skipped(f"there are {total:,} clips, more than the limit of {MOST_CLIPS:,}")
    clips = {part: means_of(feed, positions) for part, positions in parts.items()}
    if not all(bool(torch.isfinite(means).all()) for means in clips.values()):
        return _skipped("some features are not finite")
    learnt = {"val": ["train"], "test": ["train", "val"] if recipe.train.folds > 1 else ["train"]}
    dim, classes = clips["train"].shape[1], len(feed.store.classes)

    def scores(neighbours: int | None) -> dict[str, Metrics]:
        metrics = {}
        for part in PARTS:
            head = NearestHead(dim, classes, neighbours=neighbours).to(feed.device)
            known_labels = np.concatenate([labels[parts[name]] for name in learnt[part]])
            head.remember(
                torch.cat([clips[name] for name in learnt[part]]),
                torch.from_numpy(known_labels).to(feed.device),
            )
            predicted = classify(head, clips[part])
            metrics[part] = metrics_of_predictions(labels[parts[part]], predicted, classes)
        return metrics

    means = scores(None)
    votes = {k: scores(k) for k in NEIGHBOURS if k <= len(parts["train"])}
    # Ties go to the smallest k.
    best = max(votes, key=lambda k: (votes[k]["val"].mean_class_accuracy, -k))
    return {
        "nearest_class_mean": _as_dicts(means),
        "nearest_neighbours": {"k": best, **_as_dicts(votes[best])},
    }


@torch.inference_mode()
def classify(head: NearestHead, means: Tensor) -> Ints:
    """Return the class of every clip from its mean over time; int64 (n,)."""
    guesses = [torch.zeros(0, dtype=torch.int64)]
    for first in range(0, len(means), _BATCH):
        steps = means[first : first + _BATCH, None]
        logits = head(steps, torch.ones_like(steps[..., 0], dtype=torch.bool)).logits
        guesses.append(logits.argmax(dim=1).cpu())
    predicted: Ints = torch.cat(guesses).numpy()
    return predicted


def _as_dicts(metrics_by_part: Mapping[str, Metrics]) -> dict[str, dict[str, float]]:
    return {part: metrics.scores for part, metrics in metrics_by_part.items()}


def _skipped(why: str) -> dict[str, Any]:
    return {"skipped": f"Training-free baselines were not computed: {why}."}
