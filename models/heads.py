"""Temporal heads: from the features of a clip's steps to one logit a class.

A head is a `Head`; to add one, write its class in a module of its own and enter it in `HEADS`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.pooling import PoolName, blank, build_pool, valid_lengths


class HeadOutput(NamedTuple):
    """What a head says about a batch.

    Attributes
    ----------
    logits : float tensor (B, C)
    attention : float tensor (B, T) or None
        Weight of every step, zero at padded steps and summing to one a clip.
    """

    logits: Tensor
    attention: Tensor | None


class Head(nn.Module):
    """Base of the heads: features (B, T, D) and mask (B, T), valid steps first, to `HeadOutput`.

    Whatever a padded step holds, NaN included, the logits of a clip do not change.
    """

    def forward(self, features: Tensor, mask: Tensor) -> HeadOutput:
        """Classify a batch of clips."""
        raise NotImplementedError


class RecurrentHead(Head):
    """LayerNorm, LSTM or GRU, pool, linear layer.

    Parameters
    ----------
    features, classes : int
        Length of a step's vector, number of classes.
    cell : {"lstm", "gru"}
    bidirectional : bool
        Read the clip in both directions.
    hidden : int
        Size of the state of one direction.
    layers : int
    dropout : float
        Before the linear layer and between recurrent layers.
    input_norm : bool
        Normalise every step's vector by itself before the recurrence.
    pool : {"last", "mean", "max", "attention"}

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
        hidden: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
        input_norm: bool = False,
        pool: PoolName = "last",
    ) -> None:
        super().__init__()
        cells: dict[str, type[nn.LSTM | nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
        if cell not in cells:
            raise ValueError(f"cell {cell!r}: known are {', '.join(cells)}")
        self.norm = nn.LayerNorm(features) if input_norm else nn.Identity()
        self.rnn = cells[cell](
            features,
            hidden,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,  # torch warns: it only acts between layers
        )
        size = hidden * (2 if bidirectional else 1)
        self.pool = build_pool(pool, size, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(size, classes)

    def forward(self, features: Tensor, mask: Tensor) -> HeadOutput:
        """Classify a batch of clips.

        Parameters
        ----------
        features : float32 tensor (B, T, D)
        mask : bool tensor (B, T)
            True at valid steps, which come first.

        Raises
        ------
        ValueError
            If a clip has no valid step, or its valid steps are not a prefix.
        """
        lengths = valid_lengths(mask)
        steps = self.norm(blank(features, mask))
        # Packed, the backward direction starts at a clip's last valid step, not in its padding.
        packed = pack_padded_sequence(steps, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=mask.shape[1]
        )
        pooled, attention = self.pool(states, mask)
        return HeadOutput(self.classify(self.dropout(pooled)), attention)


HEADS: dict[str, type[Head]] = {"recurrent": RecurrentHead}


def build_head(kind: str, features: int, classes: int, **options: Any) -> Head:
    """Make a head by name.

    Parameters
    ----------
    kind : str
        A key of `HEADS`.
    features, classes : int
        Length of a step's vector, number of classes.
    **options
        Passed to the head's class.

    Raises
    ------
    ValueError
        If there is no such head.
    """
    if kind not in HEADS:
        raise ValueError(f"head {kind!r}: known are {', '.join(HEADS)}")
    return HEADS[kind](features, classes, **options)
