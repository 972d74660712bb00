"""The fields of a recipe: frozen sections, validated.

A new option takes one line here; defaults are the simplest choice. The options of a head are its
keyword arguments.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
)

NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Imbalance = Literal[
    "none",
    "sampler",
    "sampler_sqrt",
    "sampler_effective",
    "class_weights",
    "class_weights_sqrt",
    "class_weights_effective",
    "focal",
    "balanced_softmax",
    "logit_adjustment",
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(_Section):
    """How clips enter the head.

    Attributes
    ----------
    steps : int or None
        Resample every clip to this many steps; None keeps each clip's own length.
    standardise : {"none", "train", "clip", "recording", "subject", "causal"}
        The steps whose mean and std standardise features; see `pipeline.train.data.standardise`.
    fusion : {"concat", "logits", "views"} or None
        How several stores are combined: concatenated features with one head, one head per store and
        the mean of their logits, or one head for augmented views of the same clips. None means
        views for those, else concat. A single store ignores it.
    """

    steps: PositiveInt | None = None
    fusion: Literal["concat", "logits", "views"] | None = None
    standardise: Literal["none", "train", "clip", "recording", "subject", "causal"] = "none"


class Head(_Section):
    """The temporal head; `head_section` adds the fields of its kind.

    Attributes
    ----------
    kind : str
        The name of a module of `models.heads`.
    num_classes : int or None
        Only checked against the store's class list; None skips the check.
    """

    kind: str = "recurrent"
    num_classes: PositiveInt | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the values: the classes of heads are made when they are needed."""
        return _head_of, (self.model_dump(),)


def _head_of(values: dict[str, Any]) -> Head:
    return head_section(values["kind"]).model_validate(values)


@cache
def head_section(kind: str) -> type[Head]:
    """Return the head section of one kind, with the head's keyword arguments as fields.

    This imports torch.

    Examples
    --------
    >>> head_section("linear")().model_dump(exclude={"num_classes"})
    {'kind': 'linear', 'pool': 'mean', 'dropout': 0.0, 'input_norm': False}
    """
    from models.heads import HEADS

    types = get_type_hints(HEADS[kind].__init__, include_extras=True)
    parameters = inspect.signature(HEADS[kind]).parameters.values()
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)} | {
        option.name: (types[option.name], option.default)
        for option in parameters
        if option.kind is option.KEYWORD_ONLY
    }
    return create_model(kind, __base__=Head, **fields)


class Augment(_Section):
    """Changes to the training features, in this order; see `pipeline.train.data.augment`.

    Attributes
    ----------
    crop : float
        Smallest share of a clip's steps that a random crop keeps; 1 turns it off.
    stride : int
        Largest random stride of the kept steps; 1 turns it off.
    drop : float
        Share of steps dropped at random.
    reverse : float
        Share of clips reversed in time. Off by default: some classes are each other's reverse.
    noise : float
        Standard deviation of Gaussian noise, as a share of the standard deviation of the batch's
        features.
    mixup : float
        Parameter of the Beta distribution of mixup; 0 turns it off.
    """

    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    stride: PositiveInt = 1
    drop: Share = 0.0
    reverse: Annotated[float, Field(ge=0, le=1)] = 0.0
    noise: NotNegative = 0.0
    mixup: NotNegative = 0.0


class Train(_Section):
    """Options of the optimizer and the training loop.

    Attributes
    ----------
    epochs : int
        Maximum number of epochs.
    min_epochs, patience : int
        Training ends after `patience` consecutive epochs past `min_epochs` without an improvement
        of `monitor`. With patience None, all epochs run.
    batch_size : int
        Clips in one training step.
    lr : float
        Learning rate at the start.
    weight_decay : float
        Weight decay of the optimizer.
    optimizer : {"adam", "adamw"}
        With adamw, weight decay is decoupled from the gradient.
    schedule : {"none", "plateau", "cosine"}
        Plateau halves the rate after 5 epochs without improvement; cosine falls to 0 at `epochs`.
    clip_norm : float or None
        Largest norm of the gradient.
    imbalance : str
        The strategy against class imbalance; see `pipeline.train.imbalance`. A single field, so
        strategies cannot be combined.
    label_smoothing : float
        Share of the target that is spread over all classes.
    effective_beta : float
        Used only by the strategies that end in effective.
    focal_gamma : float
        Used only by focal.
    adjustment_tau : float
        Used only by logit_adjustment; 1 equals balanced_softmax.
    monitor : str
        The val score that chooses the best epoch.
    folds : int
        Number of heads. With several, train and val are divided into as many folds by subject (by
        video if subjects are unknown). Each head learns from all folds but one, which chooses its
        epoch. The run is the mean of their probabilities, see `pipeline.train.folds`.
    precision : {"float32", "bf16"}
        Precision of products in training steps; weights, losses and scores are float32.
    """

    epochs: PositiveInt = 60
    folds: PositiveInt = 1
    min_epochs: Annotated[int, Field(ge=0)] = 10
    patience: PositiveInt | None = 15
    batch_size: PositiveInt = 32
    lr: PositiveFloat = 1e-3
    weight_decay: NotNegative = 0.0
    optimizer: Literal["adam", "adamw"] = "adam"
    schedule: Literal["none", "plateau", "cosine"] = "none"
    clip_norm: PositiveFloat | None = None
    label_smoothing: Share = 0.0
    imbalance: Imbalance = "none"
    effective_beta: Share = 0.999
    focal_gamma: NotNegative = 2.0
    adjustment_tau: NotNegative = 1.0
    precision: Literal["float32", "bf16"] = "float32"
    monitor: Literal["mean_class_accuracy", "top1", "macro_f1", "weighted_f1", "loss"] = (
        "mean_class_accuracy"
    )


class Recipe(_Section):
    """A named training configuration.

    Attributes
    ----------
    name : str
    data, head, augment, train
        The sections above.
    mean_with : tuple of Recipe
        Recipes that are trained too; the run is the mean of the probabilities of all. They have
        the same `data` and the same number of folds.
    """

    name: str
    data: Data = Data()
    head: SerializeAsAny[Head] = Head()
    augment: Augment = Augment()
    train: Train = Train()
    mean_with: tuple[Recipe, ...] = ()

    @property
    def members(self) -> tuple[Recipe, ...]:
        """The recipes whose heads are averaged; a single one if it is not a mean."""
        return self.model_copy(update={"mean_with": ()}), *self.mean_with

    @property
    def full_name(self) -> str:
        """The names of all members."""
        return "+".join(member.name for member in self.members)

    @model_serializer(mode="wrap")
    def _leave_out_no_mean(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        others = list(values.pop("mean_with"))
        return values | {"mean_with": others} if others else values
