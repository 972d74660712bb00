"""Training steps must not wait for a GPU; torch's meta device stands in for one."""

import pytest
import torch

from pipeline.train.data.feed import Feed
from pipeline.train.recipes.load import load_recipe, recipe_names
from tests.fakes import ordered_store
from tests.waits import META, waits, waits_of_steps

SMALL = ["train.batch_size=8"]
CHANGED = [
    "data.standardise=clip",
    "augment.crop=0.5",
    "augment.drop=0.1",
    "augment.reverse=0.2",
    "augment.noise=0.1",
    "augment.mixup=0.2",
]
LEARNT = [name for name in recipe_names() if not name.startswith("nearest")]


def test_what_waits_is_seen() -> None:
    x = torch.zeros(3)
    with waits(META) as seen:
        x.to(META, non_blocking=True)
        x.clone()
    assert not seen
    with waits(META) as seen:
        x.to(META)
        torch.empty(3, device=META).copy_(x)
    assert len(seen) == 2
    for reading in (lambda y: y[y > 0], lambda y: float(y.sum()), lambda y: y.cpu()):
        with pytest.raises((RuntimeError, NotImplementedError)), waits(META):
            reading(torch.empty(3, device=META))


@pytest.mark.parametrize("name", LEARNT)
def test_no_step_waits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(name, [*SMALL, "data.steps=3"])
    assert not waits_of_steps(ordered_store(40), recipe, META, monkeypatch)


@pytest.mark.parametrize(
    ("name", "steps", "held"),
    [("bilstm", "null", True), ("tcn", "null", True), ("tcn", "null", False), ("tcn", "3", False)],
)
def test_no_step_waits_whatever_the_recipe_says(
    name: str, steps: str, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(name, [*SMALL, *CHANGED, f"data.steps={steps}"])
    if not held:
        monkeypatch.setattr(Feed, "_fits", lambda self: False)
    assert not waits_of_steps(ordered_store(40), recipe, META, monkeypatch)
