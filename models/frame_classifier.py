"""A backbone with a linear classifier of single frames, of which the last blocks are trained."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from models.backbones import Backbone

CONTAINERS = (nn.Sequential, nn.ModuleList)


class FrameClassifier(nn.Module):
    """A backbone and a linear classifier of its features.

    Parameters
    ----------
    backbone : Backbone
        Its last blocks are thawed, in place.
    dim : int
        Length of its features.
    classes : int
    blocks : int
        How many of the last blocks are trained; the others stay frozen.

    Notes
    -----
    The backbone stays in evaluation mode. Features are extracted with the running statistics of
    its batch norms, and batches of a few people, drawn by class, would replace those by ones that
    no recording has. Scale and shift are trained.

    Raises
    ------
    ValueError
        If the backbone has fewer blocks.
    """

    def __init__(self, backbone: Backbone, dim: int, classes: int, blocks: int) -> None:
        super().__init__()
        found = blocks_of(backbone.network)
        if blocks > len(found):
            raise ValueError(f"it has {len(found)} blocks")
        self.backbone, self.classifier = backbone, nn.Linear(dim, classes)
        self.blocks = len(found)
        self._trained = found[-blocks:]
        weights = dict(backbone.network.named_parameters())
        for name in (name for block in self._trained for name in block):
            weights[name].requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (frames, classes) of frames (frames, channels, height, width)."""
        logits: Tensor = self.classifier(self.backbone(x))
        return logits

    def train(self, mode: bool = True) -> FrameClassifier:
        """Leave the backbone as it is."""
        super().train(mode)
        self.backbone.eval()
        return self

    def layers(self) -> list[list[nn.Parameter]]:
        """Return the parameters that are trained: the classifier's, then block by block backwards.

        Those of a block that the features do not depend on are among them.
        """
        weights = dict(self.backbone.network.named_parameters())
        blocks = [[weights[name] for name in block] for block in reversed(self._trained)]
        return [list(self.classifier.parameters()), *blocks]


def blocks_of(network: nn.Module) -> list[list[str]]:
    """Return the names of the parameters of every block of a network, from its input on.

    A block is what the network repeats: an entry of its sequences, however they are nested. A part
    that holds more than half of all parameters, such as the encoder around a sequence of
    transformer blocks, is opened. Norms on their own belong to the block before them, parameters
    outside of any (a class token, positions) to the first one behind them.

    Parameters
    ----------
    network : nn.Module

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Linear(2, 2))
    >>> blocks_of(network)
    [['0.weight', '0.bias', '1.weight', '1.bias'], ['3.weight', '3.bias']]
    """
    total = sum(own.numel() for own in network.parameters())
    found: list[list[str]] = []
    rest = [name for name, _ in network.named_parameters()]
    for prefix, module in _parts("", network, total):
        own = [name for name in rest if name.startswith(prefix)]
        rest = [name for name in rest if name not in own]
        if found and all(weight.ndim < 2 for weight in module.parameters()):
            found[-1] += own
        elif own:
            found.append(own)
    for name in rest:
        prefix = name[: name.rfind(".") + 1]
        next((block for block in found if block[0].startswith(prefix)), found[0]).append(name)
    return found


def _parts(prefix: str, module: nn.Module, total: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield what a network is made of, and the prefix of the names of its parameters."""
    children = list(module.named_children())
    size = sum(own.numel() for own in module.parameters())
    if children and (not prefix or type(module) in CONTAINERS or 2 * size > total):
        for name, child in children:
            yield from _parts(f"{prefix}{name}.", child, total)
    else:
        yield prefix, module
