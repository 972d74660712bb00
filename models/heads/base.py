"""What every temporal head is, and the types of its options."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from models.heads.pooling import blank, valid_lengths

Count = Annotated[int, Gt(0)]
Share = Annotated[float, Ge(0), Lt(1)]


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

    Whatever a padded step holds, NaN included, the logits of a clip do not change. A head defines
    `read`, and takes ``features, classes`` and keyword-only options, each annotated and with a
    default: they are the fields of a recipe's head section, checked by their annotations.
    """

    def forward(self, features: Tensor, mask: Tensor) -> HeadOutput:
        """Classify a batch of clips.

        Parameters
        ----------
        features : float tensor (B, T, D)
        mask : bool tensor (B, T)
            True at valid steps, which come first.

        Raises
        ------
        ValueError
            If a clip has no valid step, or its valid steps are not a prefix.
        """
        valid_lengths(mask)
        return self.read(blank(features, mask), mask)

    def read(self, steps: Tensor, mask: Tensor) -> HeadOutput:
        """Classify clips whose padded steps are zero.

        A layer with a bias makes padded steps other than zero again: call
        `models.heads.pooling.blank` before what looks at neighbouring steps.
        """
        raise NotImplementedError


def input_layer(features: int, *, norm: bool) -> nn.Module:
    """Return what every step's vector passes first: a norm of its own, or nothing.

    The norm has no gain and bias. The weights of the layer behind it can nearly take their place,
    and without them no gradient has to be carried down to the features: of a step of convolutions
    over long vectors that is a quarter.
    """
    return nn.LayerNorm(features, elementwise_affine=False) if norm else nn.Identity()
