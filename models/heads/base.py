"""The base class of temporal heads, and the types of their options."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from models.heads.pooling import blank, valid_lengths

Count = Annotated[int, Gt(0)]
Share = Annotated[float, Ge(0), Lt(1)]


class HeadOutput(NamedTuple):
    """The output of a head for a batch.

    Attributes
    ----------
    logits : float tensor (B, C)
    attention : float tensor (B, T) or None
        Weight of every step; zero at padded steps, with a sum of one per clip.
    """

    logits: Tensor
    attention: Tensor | None


class Head(nn.Module):
    """Base of the heads: map features (B, T, D) and mask (B, T), valid steps first, to logits.

    The content of padded steps, even NaN, does not influence the logits. A head defines `read`, and
    takes ``features, classes`` and keyword-only options with annotations and defaults. The options
    are the fields of a recipe's head section, and their annotations are checked.

    Attributes
    ----------
    learns : bool
        Whether it is trained by gradients; if not, `remember` takes the training clips once.
    attends_to_places : bool
        Whether it takes ``places``, the vectors that a step's vector is made of.
    """

    learns = True
    attends_to_places = False

    def remember(self, pooled: Tensor, labels: Tensor) -> None:
        """Take the training clips, averaged over time (n, D), and their labels (n,)."""
        raise NotImplementedError

    def forward(self, features: Tensor, mask: Tensor) -> HeadOutput:
        """Classify a batch of clips.

        Parameters
        ----------
        features : float tensor (B, T, D)
        mask : bool tensor (B, T)
            True at valid steps, which come first. On the CPU it is checked without waiting for a
            GPU that holds the features.

        Raises
        ------
        ValueError
            If a clip has no valid step, or its valid steps are not a prefix.
        """
        lengths = valid_lengths(mask).cpu()
        mask = mask.to(features.device, non_blocking=True)
        return self.read(blank(features, mask), mask, lengths)

    def read(self, steps: Tensor, mask: Tensor, lengths: Tensor) -> HeadOutput:
        """Classify clips with zeros as padding.

        A layer with a bias changes padded steps from zero: call `models.heads.pooling.blank`
        before layers that read neighbouring steps.

        Parameters
        ----------
        steps : float tensor (B, T, D)
        mask : bool tensor (B, T)
            On the device of `steps`.
        lengths : int64 tensor (B,)
            Number of valid steps of every clip, on the CPU.
        """
        raise NotImplementedError

    def read_whole(self, steps: Tensor) -> HeadOutput:
        """Classify clips (B, T, D) without padding, by operations that exporters know."""
        mask = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        return self.read(steps, mask, mask.sum(dim=1))


def input_layer(features: int, *, norm: bool) -> nn.Module:
    """Return the first layer of a head: a norm of each step's vector, or the identity.

    The norm has no gain and bias, because the next layer's weights nearly replace them. So no
    gradient is needed for the features, which saves a quarter of a training step of convolutions
    over long vectors.
    """
    return nn.LayerNorm(features, elementwise_affine=False) if norm else nn.Identity()
