"""Frozen networks that turn frames, or windows of frames, into vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.catalogue import BACKBONES, TIMM
from models.operators import declare_missing_operators


class Backbone(nn.Module):
    """A network without its classifier, in evaluation mode, all of its parameters frozen.

    Parameters
    ----------
    network : nn.Module
        Ends in the pooled vector.
    classifier : tuple of str
        Names under which weights files may hold the classifier that was removed.

    Notes
    -----
    Input is float32 of shape (batch, 3, height, width) for an image backbone and
    (batch, 3, frames, height, width) for a video backbone; output is (batch, dim).
    """

    def __init__(self, network: nn.Module, classifier: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.classifier = classifier
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of shape (batch, dim)."""
        out: Tensor = self.network(x)
        return out.flatten(1)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load weights; the classifier's own may be there or not.

        Raises
        ------
        ValueError
            If tensors are missing, unknown or of another shape; the message lists them.
        """
        own = self.network.state_dict()
        kept = {name: value for name, value in tensors.items() if not self._classifies(name)}
        missing = sorted(own.keys() - kept.keys() - _counters(own))
        extra = sorted(kept.keys() - own.keys())
        shapes = [
            f"{name} {tuple(kept[name].shape)} for {tuple(own[name].shape)}"
            for name in sorted(own.keys() & kept.keys())
            if own[name].shape != kept[name].shape
        ]
        problems = (
            _listed("missing", missing),
            _listed("unknown", extra),
            _listed("other shape", shapes),
        )
        if any(problems):
            raise ValueError("; ".join(problem for problem in problems if problem))
        self.network.load_state_dict({**own, **kept})

    def _classifies(self, name: str) -> bool:
        return name.rpartition(".")[0] in self.classifier


def build_backbone(name: str, seed: int = 0) -> Backbone:
    """Build a backbone with random weights.

    Parameters
    ----------
    name : str
        A name of `models.catalogue.BACKBONES`, or ``timm:`` and a model of timm.
    seed : int
        Seed of the weights; the global generator is left as it was.

    Raises
    ------
    ValueError
        If there is no such backbone, or timm is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name.startswith(TIMM):
            return _from_timm(name.removeprefix(TIMM))
        return _from_torchvision(name)


def _from_torchvision(name: str) -> Backbone:
    declare_missing_operators()
    import torchvision

    if name not in BACKBONES:
        raise ValueError(f"there is no backbone {name!r}")
    network = torchvision.models.get_model(name, weights=None)
    classifier = BACKBONES[name].classifier
    network.set_submodule(classifier, nn.Identity())
    return Backbone(network, (classifier,))


def _from_timm(name: str) -> Backbone:
    declare_missing_operators()
    try:
        import timm
    except ImportError:
        raise ValueError("timm is not installed; pip install 'featstore[timm]'") from None
    if name not in timm.list_models():
        raise ValueError(f"timm has no model {name!r}")
    network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    classifier = network.default_cfg.get("classifier") or ()
    return Backbone(network, (classifier,) if isinstance(classifier, str) else tuple(classifier))


def _counters(own: Mapping[str, Tensor]) -> set[str]:
    """Batch counters of batch norm, which old weights files lack and evaluation never reads."""
    return {name for name in own if name.endswith("num_batches_tracked")}


def _listed(title: str, names: list[str], most: int = 8) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {title}: {', '.join(names[:most])}{more}"
