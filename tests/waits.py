"""What makes the CPU wait for a GPU within a training step, also found without a GPU.

On a GPU, torch's debug mode warns of every wait. Without one, torch's meta device takes its place:
its tensors have no values, so reading one raises an error, and copies that wait are noted.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.train.data import feed as feed_module
from pipeline.train.learner import Learner
from pipeline.train.recipes.load import Recipe
from tests.fakes import FakeStore
from tests.training import head_of

META = torch.device("meta")
WAIT = "synchronizing CUDA operation"  # words of torch's warning


class _Copies(TorchDispatchMode):
    """Note copies between devices that are not asked to be asynchronous."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        made = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves([args, kwargs, made]) if torch.is_tensor(one)]
        devices = {one.device.type for one in tensors if one.ndim or one.device == META}
        asynchronous = (kwargs or {}).get("non_blocking") or any(one is True for one in args)
        if "copy" in str(func) and len(devices) > 1 and not asynchronous:
            self.seen.append(str(func))
        return made


@contextmanager
def waits(device: torch.device) -> Iterator[list[str]]:
    """Give the list of waits; it is complete after the block."""
    seen: list[str] = []
    if device.type != "cuda":
        with _Copies() as copies:
            yield seen
        seen += copies.seen
        return
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield seen
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    seen += [str(one.message) for one in caught if WAIT in str(one.message)]


def waits_of_steps(
    store: FakeStore, recipe: Recipe, device: torch.device, patch: pytest.MonkeyPatch
) -> list[str]:
    """Train for an epoch and return the waits of its steps, without the first one.

    The first step reads the clips. Fetching batches counts, reading the losses afterwards does not.
    """
    if device == META:  # which has no generators, no autocast and no memory to hold clips in
        made = torch.Generator
        patch.setattr(torch, "Generator", lambda *given: made())
        patch.setattr(torch, "autocast", lambda *given, **more: nullcontext())
        patch.setattr(feed_module, "free_memory", lambda device: 2**30)
    learner = Learner(
        head_of(store, recipe).to(device), store, recipe, store.split("train"), seed=0
    )
    learner.head.train()
    batches = learner.feed.batches(learner.clips, recipe.train.batch_size, rng=learner.order_rng)
    learner._step(next(batches))
    with waits(device) as seen:
        steps = [learner._step(batch) for batch in batches]
    assert len(steps) > 1
    return seen
