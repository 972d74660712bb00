"""Attentive probe: a learnt query attends to the steps of a clip, and to their places."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.heads.base import Count, Head, HeadOutput, Share, input_layer
from models.heads.positions import sinusoids


class AttentiveHead(Head):
    """LayerNorm, projection, positions, one cross-attention block, linear layer.

    Bardes et al., "Revisiting feature prediction for learning visual representations from video",
    TMLR 2024 (V-JEPA), appendix: a learnt query attends to the frozen features. The result is
    added to the query and passed through a two-layer perceptron with a residual connection.
    Sinusoidal positions are added to the steps, because features of single frames hold no time,
    and learnt ones to the places of a step, where there are several.

    Parameters
    ----------
    features, classes : int
        Length of a step's vector, number of classes.
    places : int
        Vectors that a step's vector is made of; each is attended to.
    hidden : int
        Size of a step's vector in the block; a multiple of `heads`.
    heads : int
        Number of attention heads.
    feedforward : int
        Size of the hidden layer of the perceptron.
    positions : bool
        Whether to add positions to the steps.
    dropout : float
        Before the linear layer.
    input_norm : bool
        Normalise each step's vector separately before the projection.

    Raises
    ------
    ValueError
        If `heads` does not divide `hidden`, or `places` not `features`.
    """

    attends_to_places = True

    def __init__(
        self,
        features: int,
        classes: int,
        places: int = 1,
        *,
        hidden: Count = 128,
        heads: Count = 4,
        feedforward: Count = 256,
        positions: bool = True,
        dropout: Share = 0.0,
        input_norm: bool = False,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"heads is {heads}; it must divide hidden, {hidden}")
        if features % places:
            raise ValueError(f"places is {places}; it must divide the features, {features}")
        self.positions, self.places = positions, places
        self.norm = input_layer(features // places, norm=input_norm)
        self.project = nn.Linear(features // places, hidden)
        if places > 1:
            self.place = nn.Parameter(torch.randn(places, hidden) * hidden**-0.5)
        self.query = nn.Parameter(torch.randn(1, 1, hidden) * hidden**-0.5)
        self.keys_norm, self.mlp_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attend = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(hidden, feedforward), nn.GELU(), nn.Linear(feedforward, hidden)
        )
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden, classes)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding.

        Attention is the mean over the heads, and the sum over the places of a step.
        """
        batch, count = steps.shape[:2]
        steps = steps.reshape(batch, count * self.places, -1)
        steps = self.project(self.norm(steps))
        if self.positions:
            times = sinusoids(count, steps.shape[2], like=steps)
            steps = steps + times.repeat_interleave(self.places, dim=0)
        if self.places > 1:
            steps = steps + self.place.repeat(count, 1)
            mask = mask.repeat_interleave(self.places, dim=1)
        keys, query = self.keys_norm(steps), self.query.expand(len(steps), -1, -1)
        attended, weights = self.attend(query, keys, keys, key_padding_mask=~mask)
        state = (query + attended).squeeze(1)
        state = state + self.mlp(self.mlp_norm(state))
        weights = weights.view(batch, count, self.places).sum(dim=2)
        return HeadOutput(self.classify(self.dropout(state)), weights)
