"""The fields of a run's files that code reads; other fields are for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from featstore.errors import InputError
from pipeline.yaml_text import short

Score = float | None
Count = Annotated[int, Field(ge=0)]


class _Fields(BaseModel):
    model_config = ConfigDict(strict=True)


class _NamedStore(_Fields):
    key: str
    title: str


class _TrainedStore(_Fields):
    key: str
    path: str | list[str]
    stores: list[_NamedStore] = []
    features: int
    classes: list[str]
    statistics: Any


class RunConfig(_Fields):
    """``config.yaml``."""

    recipe: dict[str, Any]
    store: _TrainedStore


class _ClassScores(_Fields):
    name: str = Field(alias="class")
    precision: Score
    recall: Score
    f1: Score
    support: Count
    predicted: Count


class _Cells(_Fields):
    cells: list[Annotated[list[Count], Field(min_length=3, max_length=3)]]


class MainScores(_Fields):
    """The scores of `MAIN_SCORES`."""

    top1: Score
    mean_class_accuracy: Score


class AllScores(MainScores):
    """The scores of `SCORES`."""

    macro_f1: Score
    weighted_f1: Score


class _Scores(AllScores):
    classes_with_support: Count
    clips: Count
    per_class: list[_ClassScores]
    confusion: list[list[Count]] | _Cells

    @model_validator(mode="after")
    def _is_of_the_classes(self) -> Self:
        classes = len(self.per_class)
        if isinstance(self.confusion, _Cells):
            fits = all(max(cell[:2]) < classes for cell in self.confusion.cells)
        else:
            fits = [len(row) for row in self.confusion] == [classes] * classes
        if not fits:
            raise ValueError(f"confusion does not match {classes} classes")
        return self


class _TrainClips(_Fields):
    clips: Count
    clip_seconds: Score = None
    per_class: list[Count]
    classes_without_clips: list[str]


class _Errors(_Fields):
    ece: Score
    nll: Score
    ece_scaled: Score
    nll_scaled: Score


class _Calibration(_Fields):
    temperature: float
    val: _Errors
    test: _Errors


class _Bounds(_Fields):
    clips: list[Score] | None
    subjects: list[Score] | None


class _Intervals(_Fields):
    level: float
    resamples: int
    subjects: Count
    top1: _Bounds
    mean_class_accuracy: _Bounds


class _Baseline(_Fields):
    k: Count = 0
    val: MainScores
    test: MainScores


class _Baselines(_Fields):
    skipped: str = ""
    nearest_class_mean: _Baseline | None = None
    nearest_neighbours: _Baseline | None = None


class _Candidate(_Fields):
    recipe: str
    standardise: str
    won: bool
    failed: str = ""
    epochs: Count = 0
    score: Score = None
    top1: Score = None
    mean_class_accuracy: Score = None


class _Portfolio(_Fields):
    name: str
    protocol: str
    why: str
    candidates: list[_Candidate]


class _ComparedScores(AllScores):
    classes_with_support: Count
    clips: Count
    common: Count


class _ComparedRun(_Fields):
    name: str
    recipe: str
    seed: int
    store_key: str
    val: _ComparedScores
    test: _ComparedScores


class RunMetrics(_Fields):
    """``metrics.json``."""

    title: str
    store_key: str
    stores: list[_NamedStore] = []
    features: dict[str, Any] = {}
    recipe: str
    seed: int
    seconds: float
    subjects_known: bool
    untrained: bool
    mixup: bool
    standardise: str = "none"
    best_epoch: Count
    epochs: Count
    stopped: str
    why_stopped: str
    attention_entropy: Score
    one_step_val_clips: Count
    concerns: list[str] = []
    failed_clips: dict[str, Count]
    calibration: _Calibration | None = None
    intervals: dict[str, _Intervals | None] = {}
    baselines: _Baselines | None = None
    baseline: _ComparedRun | None
    portfolio: _Portfolio | None = None
    train: _TrainClips
    val: _Scores
    test: _Scores


def check_fields(model: type[BaseModel], tree: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check the fields of a file's content and return it.

    Raises
    ------
    InputError
        If a field is missing or has the wrong type; the message names the file and the fields.
    """
    try:
        model.model_validate(tree)
    except ValidationError as error:
        missing = [".".join(map(str, e["loc"])) for e in error.errors() if e["type"] == "missing"]
        if missing:
            raise InputError(f"{path}: lacks {', '.join(sorted(missing))}") from None
        first = error.errors()[0]
        raise InputError(
            f"{path}: {'.'.join(map(str, first['loc']))} = {short(first['input'])}: "
            f"{first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None
    return tree
