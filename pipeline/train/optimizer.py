"""The optimizer and the learning rate schedule of a recipe."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import nn, optim
from torch.optim import lr_scheduler

from pipeline.train.recipes.load import Train

WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def make_optimizer(options: Train, head: nn.Module) -> optim.Optimizer:
    """Return the recipe's optimizer; fused into one kernel per step where torch supports it."""
    kind = _undecorated(optim.AdamW if options.optimizer == "adamw" else optim.Adam)
    fused = all(weight.device.type in ("cpu", "cuda") for weight in head.parameters())
    made: optim.Optimizer = kind(
        head.parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=fused
    )
    return made


def _undecorated(kind: Any) -> Any:
    """Return an optimizer class that does not import torch's compiler, which takes a second."""
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in (*WRAPPED, "step")}
    plain["step"] = torch.no_grad()(plain["step"])
    return type(kind.__name__, (kind,), plain)


class Schedule:
    """The learning rate of the next epoch, set from the score of this one.

    Parameters
    ----------
    options : Train
    optimizer : torch.optim.Optimizer
    """

    def __init__(self, options: Train, optimizer: optim.Optimizer) -> None:
        self._plateau = self._cosine = None
        if options.schedule == "plateau":
            # Torch halves the rate one epoch after its patience. Its default threshold is relative
            # and would rate a slightly worse negative score (of a loss) as better.
            self._plateau = lr_scheduler.ReduceLROnPlateau(
                optimizer, "max", factor=0.5, patience=4, threshold=0, threshold_mode="abs"
            )
        elif options.schedule == "cosine":
            self._cosine = lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)

    def step(self, score: float) -> None:
        """Update the rate after an epoch with this score; higher is better."""
        if self._plateau:
            self._plateau.step(score)
        elif self._cosine:
            self._cosine.step()

    def state(self) -> dict[str, Any]:
        """Return the state as JSON values, without infinity, which is only an initial value."""
        schedule = self._plateau or self._cosine
        state = schedule.state_dict() if schedule else {}
        return {k: v for k, v in state.items() if not (isinstance(v, float) and math.isinf(v))}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state from `state`."""
        schedule = self._plateau or self._cosine
        if schedule:
            schedule.load_state_dict(state)
