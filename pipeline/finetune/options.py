"""What a finetuning can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from featstore.errors import InputError

MOST_LR = 1e30  # AdamW divides it, and float32 has to hold what comes of it
MOST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How the last blocks of a backbone are trained.

    Attributes
    ----------
    blocks : int
        How many of the last blocks; see `models.frame_classifier.blocks_of`.
    epochs, patience : int
        The most there are, and how many without improvement on val end the training.
    frames : int
        Drawn for every training clip in an epoch: a clip by its class, so that classes come equally
        often, and a frame of it.
    batch_size : int
    lr : float
        Of the classifier, at its highest.
    layer_decay : float
        What the rate is multiplied by from the classifier to the last block, and from block to
        block before it.
    warmup : float
        Epochs in which the rates rise from 0; then they fall along a cosine.
    weight_decay : float
        AdamW's, of what is no bias and no norm.
    crop : float
        Shortest side of the random crop that is scaled to the whole, as a share.
    light : float
        By how much contrast and brightness vary at most.
    flip : bool
        Mirror half of the frames. Off by default, for some classes are each other's mirror image.
    seed : int

    Raises
    ------
    InputError
        If a value is out of range.
    """

    blocks: int = 3
    epochs: int = 20
    patience: int = 5
    frames: int = 4
    batch_size: int = 64
    lr: float = 1e-3
    layer_decay: float = 0.7
    warmup: float = 1.0
    weight_decay: float = 0.05
    crop: float = 0.8
    light: float = 0.2
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("blocks", "epochs", "patience", "frames", "batch_size"):
            self._refuse_unless(name, getattr(self, name) >= 1, "1 or more")
        for name in ("warmup", "weight_decay"):
            good = 0 <= getattr(self, name) < math.inf
            self._refuse_unless(name, good, "0 or more, and finite")
        self._refuse_unless("lr", 0 < self.lr <= MOST_LR, f"above 0 and at most {MOST_LR:g}")
        self._refuse_unless("seed", 0 <= self.seed <= MOST_SEED, "from 0 to 2**63 - 1")
        for name in ("layer_decay", "crop"):
            self._refuse_unless(name, 0 < getattr(self, name) <= 1, "above 0 and at most 1")
        self._refuse_unless("light", 0 <= self.light < 1, "from 0 up to 1, without 1")

    def _refuse_unless(self, name: str, good: bool, wanted: str) -> None:
        if not good:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} is {getattr(self, name)}; it must be {wanted}.")


FIELDS = tuple(own.name for own in fields(Tuning))
