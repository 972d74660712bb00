"""The options of a finetuning."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from featstore.errors import InputError

MOST_LR = 1e30  # AdamW divides it, and float32 must hold the result
MOST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The options of training a backbone's last blocks.

    Attributes
    ----------
    blocks : int
        Number of last blocks to train; see `models.frame_classifier.blocks_of`.
    epochs, patience : int
        Maximum number of epochs, and epochs without improvement on val that end the training.
    frames : int
        Frames drawn per training clip and epoch. A clip is sampled by class, so that classes come
        equally often, then one of its frames.
    batch_size : int
    lr : float
        Peak learning rate of the classifier.
    layer_decay : float
        Factor of the rate from the classifier to the last block, and from each block to the one
        before it.
    warmup : float
        Epochs of linear warmup; a cosine decay follows.
    weight_decay : float
        Weight decay of AdamW; biases and norms do not decay.
    crop : float
        Smallest side of the random crop, as a share of the frame.
    light : float
        Largest change of contrast and brightness.
    flip : bool
        Mirror half of the frames. Off by default: some classes are each other's mirror image.
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

    def _refuse_unless(self, name: str, good: bool, requirement: str) -> None:
        if not good:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} is {getattr(self, name)}; it must be {requirement}.")


FIELDS = tuple(option.name for option in fields(Tuning))
