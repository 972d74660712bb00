"""The optimiser and the schedule of the learning rate that a recipe asks for."""

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
    """Return the optimiser that the recipe asks for; one kernel a step where torch has one."""
    kind = _undecorated(optim.AdamW if options.optimizer == "adamw" else optim.Adam)
    fused = all(weight.device.type in ("cpu", "cuda") for weight in head.parameters())
    made: optim.Optimizer = kind(
        head.parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=fused
    )
    return made


def _undecorated(kind: Any) -> Any:
    """Return an optimiser whose methods do not import torch's compiler, which takes a second."""
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in (*WRAPPED, "step")}
    plain["step"] = torch.no_grad()(plain["step"])
    return type(kind.__name__, (kind,), plain)


class Schedule:
    """Sets the next epoch's learning rate, given how good (higher) this one was.

    Parameters
    ----------
    options : Train
    optimizer : torch.optim.Optimizer
    """

    def __init__(self, options: Train, optimizer: optim.Optimizer) -> None:
        self._plateau = self._cosine = None
        if options.schedule == "plateau":
            # Torch halves one epoch after its patience. Its default threshold, a share of the best
            # score, would call a negative score (that of a loss) better though it is slightly
            # worse.
            self._plateau = lr_scheduler.ReduceLROnPlateau(
                optimizer, "max", factor=0.5, patience=4, threshold=0, threshold_mode="abs"
            )
        elif options.schedule == "cosine":
            self._cosine = lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)

    def step(self, score: float) -> None:
        """End an epoch."""
        if self._plateau:
            self._plateau.step(score)
        elif self._cosine:
            self._cosine.step()

    def state(self) -> dict[str, Any]:
        """Return what is remembered, as JSON has it: infinity is only ever a first value."""
        schedule = self._plateau or self._cosine
        state = schedule.state_dict() if schedule else {}
        return {k: v for k, v in state.items() if not (isinstance(v, float) and math.isinf(v))}

    def restore(self, state: dict[str, Any]) -> None:
        """Undo `state`."""
        schedule = self._plateau or self._cosine
        if schedule:
            schedule.load_state_dict(state)
