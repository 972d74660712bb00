"""Recurrent head: LSTM or GRU, in one direction or both."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.heads.base import Count, Head, HeadOutput, Share, input_layer
from models.heads.pooling import PoolName, build_pool


class RecurrentHead(Head):
    """LayerNorm, LSTM or GRU, pool, linear layer.

    Donahue et al., "Long-term recurrent convolutional networks for visual recognition and
    description", CVPR 2015; both directions as in Schuster and Paliwal, "Bidirectional recurrent
    neural networks", IEEE Transactions on Signal Processing, 1997.

    Parameters
    ----------
    features, classes : int
        Length of a step's vector, number of classes.
    cell : {"lstm", "gru"}
        The recurrent layer.
    bidirectional : bool
        Read the clip in both directions.
    hidden : int
        Size of the state of one direction.
    layers : int
        Number of recurrent layers.
    dropout : float
        Before the linear layer and between recurrent layers.
    input_norm : bool
        Normalise each step's vector separately before the recurrence.
    pool : {"last", "mean", "max", "attention"}
        How the steps of a clip become one vector.

    Examples
    --------
    >>> import torch
    >>> head = RecurrentHead(8, 3, bidirectional=True, hidden=4, pool="attention")
    >>> logits, attention = head(torch.zeros(2, 5, 8), torch.ones(2, 5, dtype=torch.bool))
    >>> logits.shape, attention.shape
    (torch.Size([2, 3]), torch.Size([2, 5]))
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        bidirectional: bool = False,
        hidden: Count = 256,
        layers: Count = 1,
        dropout: Share = 0.0,
        input_norm: bool = False,
        pool: PoolName = "last",
    ) -> None:
        super().__init__()
        cells: dict[str, type[nn.LSTM | nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
        if cell not in cells:
            raise ValueError(f"cell {cell!r} is unknown; choose from {', '.join(cells)}")
        self.norm = input_layer(features, norm=input_norm)
        self.rnn = cells[cell](
            features,
            hidden,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,  # it acts only between layers, and torch warns
        )
        size = hidden * (2 if bidirectional else 1)
        self.pool = build_pool(pool, size, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(size, classes)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding."""
        # Packing makes the backward direction start at the last valid step, not in the padding. It
        # needs the longest clip first; torch's own sorting waits for a GPU twice.
        lengths, order = lengths.sort(descending=True)
        longest_first, back = (
            index.to(steps.device, non_blocking=True) for index in (order, order.argsort())
        )
        packed = pack_padded_sequence(
            self.norm(steps).index_select(0, longest_first), lengths, batch_first=True
        )
        states, _ = pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=mask.shape[1]
        )
        states = states.index_select(0, back)
        pooled, attention = self.pool(states, mask)
        return HeadOutput(self.classify(self.dropout(pooled)), attention)

    def read_whole(self, steps: Tensor) -> HeadOutput:
        """Classify clips without padding: nothing is packed."""
        mask = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        pooled, attention = self.pool(self.rnn(self.norm(steps))[0], mask)
        return HeadOutput(self.classify(self.dropout(pooled)), attention)
