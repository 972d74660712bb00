"""Temporal convolutional network."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from models.heads.base import Count, Head, HeadOutput, Share, input_layer
from models.heads.pooling import PoolName, blank, build_pool


class TcnHead(Head):
    """LayerNorm, residual blocks of dilated convolutions, pool, linear layer.

    Bai et al., "An empirical evaluation of generic convolutional and recurrent networks for
    sequence modeling", 2018 (arXiv:1803.01271): each block has two weight-normalised convolutions,
    and the dilation doubles from block to block. Weight norm, unlike batch norm, keeps clips
    independent. By default, a step also sees later steps.

    Parameters
    ----------
    features, classes : int
        Length of a step's vector, number of classes.
    hidden : int
        Channels of a convolution.
    layers, kernel : int
        Number of blocks, and number of steps in a kernel.
    causal : bool
        Let a step see only itself and earlier steps, as in the paper.
    dropout : float
        Of whole channels, after every convolution.
    input_norm : bool
        Normalise each step's vector separately before the first block.
    pool : {"mean", "max", "attention", "last"}
        ``last`` is meant for a causal network.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        hidden: Count = 128,
        layers: Count = 3,
        kernel: Count = 3,
        causal: bool = False,
        dropout: Share = 0.0,
        input_norm: bool = False,
        pool: PoolName = "mean",
    ) -> None:
        super().__init__()
        self.norm = input_layer(features, norm=input_norm)
        sizes = [features, *[hidden] * layers]
        self.blocks = nn.ModuleList(
            _Block(size, hidden, kernel, 2**i, causal=causal, dropout=dropout)
            for i, size in enumerate(sizes[:-1])
        )
        self.pool = build_pool(pool, hidden)
        self.classify = nn.Linear(hidden, classes)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding."""
        steps = self.norm(steps)
        for block in self.blocks:
            steps = block(steps, mask)
        pooled, attention = self.pool(steps, mask)
        return HeadOutput(self.classify(pooled), attention)


class _Block(nn.Module):
    def __init__(
        self, size: int, hidden: int, kernel: int, dilation: int, *, causal: bool, dropout: float
    ) -> None:
        super().__init__()
        reach = (kernel - 1) * dilation
        self.reach = (reach, 0) if causal else (reach // 2, reach - reach // 2)
        self.first = weight_norm(nn.Conv1d(size, hidden, kernel, dilation=dilation))
        self.second = weight_norm(nn.Conv1d(hidden, hidden, kernel, dilation=dilation))
        self.dropout = nn.Dropout1d(dropout)
        self.skip = nn.Identity() if size == hidden else nn.Linear(size, hidden)

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        hidden = steps
        for convolve in (self.first, self.second):
            # Zeros after the last valid step equal the padding of a single clip.
            padded = functional.pad(blank(hidden, mask).transpose(1, 2), self.reach)
            hidden = self.dropout(convolve(padded).relu()).transpose(1, 2)
        merged: Tensor = (hidden + self.skip(steps)).relu()
        return merged
