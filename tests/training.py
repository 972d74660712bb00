"""Recipes, heads and stores of small trainings; a small finetuning."""

import numpy as np
import torch

from models.backbones import build_backbone
from models.frame_classifier import FrameClassifier
from models.heads import Head, build_head
from pipeline.finetune.frames import Frames
from pipeline.finetune.learner import Tuner
from pipeline.finetune.options import Tuning
from pipeline.finetune.pixels import Pixels
from pipeline.system.precision import Precision
from pipeline.train.recipes.load import Recipe, load_recipe
from tests.fakes import FakeStore, ordered_store

SMALL = ["head.hidden=8", "train.epochs=2"]


def recipe_of(*overrides: str, name: str = "bilstm") -> Recipe:
    return load_recipe(name, [*SMALL, *overrides])


def quiet(line: str) -> None:
    pass


def head_of(store: FakeStore, recipe: Recipe) -> Head:
    """The same head at every call."""
    torch.manual_seed(0)
    options = recipe.head.model_dump(exclude={"num_classes"})
    return build_head(features=store.dim, classes=len(store.classes), **options)


def few_of_b_in_train() -> FakeStore:
    """A store whose other parts have the classes the other way round."""
    store = ordered_store(60)
    for part in ("train", "val", "test"):
        clips = store.split(part)
        common = clips[: 4 * len(clips) // 5]
        store.labels[clips] = int(part == "train")
        store.labels[common] = int(part != "train")
    return store


def small_tuner(
    tuning: Tuning, device: torch.device | None = None, precision: Precision = "float32"
) -> Tuner:
    """A tuner of made-up frames: 9 clips of class 0, one of class 1, and two val clips."""
    device, rng = device or torch.device("cpu"), np.random.default_rng(0)
    rows = [np.arange(3 * n, 3 * n + 3) for n in range(11)] + [np.arange(32, 36)]
    labels = np.array([0] * 9 + [1, 0, 1])
    frames = Frames(rng.integers(0, 256, (36, 1, 32, 32), np.uint8), rows, labels, 10)
    torch.manual_seed(0)
    model = FrameClassifier(build_backbone("squeezenet1_1"), 512, 3, tuning.blocks)
    return Tuner(model.to(device), frames, Pixels([0.5], [0.25], device), tuning, precision)
