"""Transformer encoder over the steps of a clip."""

from __future__ import annotations

from torch import Tensor, nn

from models.heads.base import Count, Head, HeadOutput, Share, input_layer
from models.heads.pooling import PoolName, build_pool
from models.heads.positions import sinusoids


class TransformerHead(Head):
    """LayerNorm, projection, positions, transformer encoder, pool, linear layer.

    Vaswani et al., "Attention is all you need", NeurIPS 2017, with the norms before the layers as
    in Xiong et al., "On layer normalization in the transformer architecture", ICML 2020. No step
    attends to padded steps.

    Parameters
    ----------
    features, classes : int
        Length of a step's vector, number of classes.
    hidden : int
        Size of a step's vector in the encoder; a multiple of `heads`.
    layers, heads : int
        Number of encoder layers, and of attention heads in each.
    feedforward : int
        Size of the hidden layer of an encoder layer.
    dropout : float
        Within the encoder layers, and before the linear layer.
    input_norm : bool
        Normalise each step's vector separately before the projection.
    pool : {"mean", "max", "attention", "last"}
        How the steps of a clip become one vector.

    Raises
    ------
    ValueError
        If `heads` does not divide `hidden`.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        hidden: Count = 128,
        layers: Count = 2,
        heads: Count = 4,
        feedforward: Count = 256,
        dropout: Share = 0.1,
        input_norm: bool = False,
        pool: PoolName = "mean",
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"heads is {heads}; it must divide hidden, {hidden}")
        self.norm = input_layer(features, norm=input_norm)
        self.project = nn.Linear(features, hidden)
        layer = nn.TransformerEncoderLayer(
            hidden, heads, feedforward, dropout, batch_first=True, norm_first=True
        )
        # Nested tensors would truncate the output to the longest clip; norm_first disables them.
        self.encoder = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(hidden), enable_nested_tensor=False
        )
        self.pool = build_pool(pool, hidden)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden, classes)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding."""
        steps = self.project(self.norm(steps))
        steps = steps + sinusoids(steps.shape[1], steps.shape[2], like=steps)
        states = self.encoder(steps, src_key_padding_mask=~mask)
        pooled, attention = self.pool(states, mask)
        return HeadOutput(self.classify(self.dropout(pooled)), attention)
