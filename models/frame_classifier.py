"""A backbone with a linear classifier of single frames; its last blocks are trained."""

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
        Number of last blocks to train; the others stay frozen.

    Notes
    -----
    The backbone stays in evaluation mode, because builds extract features with the running
    statistics of its batch norms. Batches of a few subjects, drawn by class, would distort these
    statistics. Scale and shift are trained.

    Raises
    ------
    ValueError
        If the backbone has fewer blocks.
    """

    def __init__(self, backbone: Backbone, dim: int, classes: int, blocks: int) -> None:
        super().__init__()
        all_blocks = blocks_of(backbone.network)
        if blocks > len(all_blocks):
            raise ValueError(f"it has {len(all_blocks)} blocks")
        self.backbone, self.classifier = backbone, nn.Linear(dim, classes)
        self.blocks = len(all_blocks)
        self._trained = all_blocks[-blocks:]
        weights = dict(backbone.network.named_parameters())
        for name in (name for block in self._trained for name in block):
            weights[name].requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (frames, classes) of frames (frames, channels, height, width)."""
        logits: Tensor = self.classifier(self.backbone(x))
        return logits

    def train(self, mode: bool = True) -> FrameClassifier:
        """Set the mode of the classifier; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def layers(self) -> list[list[nn.Parameter]]:
        """Return the trained parameters: the classifier's, then block by block from the last.

        They include parameters of a block that do not influence the features.
        """
        weights = dict(self.backbone.network.named_parameters())
        blocks = [[weights[name] for name in block] for block in reversed(self._trained)]
        return [list(self.classifier.parameters()), *blocks]


def blocks_of(network: nn.Module) -> list[list[str]]:
    """Return the parameter names of each block of a network, starting at the input.

    A block is an entry of the network's sequences, at any depth. A module with more than half of
    all parameters, such as the encoder around transformer blocks, is split further. A separate
    norm belongs to the block before it. Parameters outside of blocks (a class token, positions)
    belong to the first block after them.

    Parameters
    ----------
    network : nn.Module

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Linear(2, 2))
    >>> blocks_of(network)
    [['0.weight', '0.bias', '1.weight', '1.bias'], ['3.weight', '3.bias']]
    """
    total = sum(parameter.numel() for parameter in network.parameters())
    blocks: list[list[str]] = []
    rest = [name for name, _ in network.named_parameters()]
    for prefix, module in _parts("", network, total):
        names = [name for name in rest if name.startswith(prefix)]
        rest = [name for name in rest if name not in names]
        if blocks and all(weight.ndim < 2 for weight in module.parameters()):
            blocks[-1] += names
        elif names:
            blocks.append(names)
    for name in rest:
        prefix = name[: name.rfind(".") + 1]
        next((block for block in blocks if block[0].startswith(prefix)), blocks[0]).append(name)
    return blocks


def _parts(prefix: str, module: nn.Module, total: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of a network, each with the prefix of its parameter names."""
    children = list(module.named_children())
    size = sum(parameter.numel() for parameter in module.parameters())
    if children and (not prefix or type(module) in CONTAINERS or 2 * size > total):
        for name, child in children:
            yield from _parts(f"{prefix}{name}.", child, total)
    else:
        yield prefix, module
