"""Log lines of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featstore import Store
from featstore.text import listed
from pipeline.metrics.classification import Metrics, score_name
from pipeline.system.progress import human_time
from pipeline.train.data.checks import Parts
from pipeline.train.data.views import views_of
from pipeline.train.imbalance import classes_without_clips
from pipeline.train.recipes.load import Recipe, Train


def introduction(store: Store, recipe: Recipe, parts: Parts, *, size: int) -> list[str]:
    """Return log lines on what will be trained, and caveats about its scores.

    Parameters
    ----------
    store : Store
    recipe : Recipe
    parts : dict
        Positions of the clips of train, val and test.
    size : int
        Number of weights of the head.
    """
    views = views_of(store, recipe)
    counts = ", ".join(f"{len(clips)} {part}" for part, clips in parts.items())
    lines = [
        f"clips: {counts}; {len(store.classes)} classes, {store.dim // views} features a step"
        + (f", {views} views of every clip" if views > 1 else ""),
        f"recipe {recipe.full_name}: {size:,} weights",
    ]
    if absent := classes_without_clips(store.labels[parts["train"]], store.classes):
        lines.append(f"classes without training clips: {listed(absent)}")
    if not len(parts["test"]):
        lines.append("no test clips: only val is scored")
    if not store.subjects_known:
        lines.append("subjects are unknown: parts may share people")
    if store.attributes.get("untrained"):
        lines.append("the backbone is untrained: its features are those of random weights")
    if any(member.train.imbalance.startswith("sampler") for member in recipe.members):
        lines.append("sampler: train scores are over the drawn clips")
    if any(member.augment.mixup for member in recipe.members):
        lines.append(
            "mixup: train mass, the target mass of the predicted class, is not an accuracy"
        )
    return lines


def progress(history: Sequence[Mapping[str, Any]], options: Train, best_epoch: int) -> str:
    r"""Return the log line of the last epoch, with the best score so far and the time left.

    The time left is that of all remaining epochs; the patience may end the training earlier.

    Parameters
    ----------
    history : sequence of mapping
        The rows of the epochs so far.
    options : Train
    best_epoch : int
        Counted from 1.

    Examples
    --------
    >>> row = {"epoch": 1, "train_loss": 0.5, "train_top1": 0.75, "seconds": 2.0}
    >>> row |= {"val_loss": 0.6, "val_top1": 0.5, "data_share": 0.004}
    >>> line = progress([row], Train(monitor="top1", epochs=31), 1)
    >>> print(line.replace("  data", "\n  data"))
    epoch   1 of 31  train loss 0.500 top1 0.750  val loss 0.600 top1 0.500
      data 0.4 %  best 0.500 in epoch 1  at most 1 min 0 s left
    """
    row, monitored = history[-1], f"val_{options.monitor}"
    shown = "top1" if options.monitor == "loss" else options.monitor
    mixed = "train_target_mass" in row
    train = f"mass {row['train_target_mass']:.3f}" if mixed else f"top1 {row['train_top1']:.3f}"
    left = (options.epochs - len(history)) * sum(row["seconds"] for row in history) / len(history)
    return (
        f"epoch {row['epoch']:3d} of {options.epochs}  train loss {row['train_loss']:.3f} {train}"
        f"  val loss {row['val_loss']:.3f} {shown} {row[f'val_{shown}']:.3f}"
        f"  data {100 * row['data_share']:.1f} %"
        f"  best {history[best_epoch - 1][monitored]:.3f} in epoch {best_epoch}"
        + (f"  at most {human_time(left)} left" if left else "")
    )


def why_stopped(stopped: str, waited: int, options: Train) -> str:
    """Return why training ended.

    Parameters
    ----------
    stopped : {"patience", "epochs"}
    waited : int
        Epochs since the best one; more than the patience if `min_epochs` came later.
    options : Train

    Examples
    --------
    >>> why_stopped("patience", 9, Train(patience=5, min_epochs=10))
    'val mean_class_accuracy had not improved for 9 epochs'
    """
    if stopped == "epochs":
        return f"all {options.epochs} epochs had run"
    epochs = "1 epoch" if waited == 1 else f"{waited} epochs"
    return f"val {options.monitor} had not improved for {epochs}"


def conclusion(training: Mapping[str, Any], test: Metrics) -> str:
    """Return the log line at the end of a training.

    Parameters
    ----------
    training : mapping
        From the run's metrics: best_epoch, why_stopped, data_share.
    test : Metrics
    """
    text = (
        f"waited for data {100 * training['data_share']:.1f} % of the time; best epoch "
        f"{training['best_epoch']}; training ended because {training['why_stopped']}"
    )
    if not test.clips:
        return text
    return (
        f"{text}; test top1 {test.top1:.3f}, mean class accuracy {test.mean_class_accuracy:.3f} "
        f"over {test.classes_with_support} classes"
    )


def scores(part: str, metrics: Metrics, loss: float) -> list[str]:
    """Return lines with the scores of one part.

    Parameters
    ----------
    part : str
    metrics : Metrics
    loss : float
        The mean cross entropy.
    """
    clips = f"{metrics.clips} clips" if metrics.clips != 1 else "1 clip"
    averaged = f"{metrics.classes_with_support} of {len(metrics.support)} classes"
    values = {score_name(key): value for key, value in metrics.scores.items()}
    return [
        f"{part}: {clips}; averages over the {averaged} that have clips",
        *(f"{name:20} {100 * value:.1f} %" for name, value in values.items()),
        f"{'loss':20} {loss:.3f}",
    ]
