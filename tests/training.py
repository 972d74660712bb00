"""Recipes, heads and stores of small trainings."""

import torch

from models.heads import Head, build_head
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
