"""What finetuned weights say that they have seen, field by field."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Parts(BaseModel):
    """Names of subjects or hashes of videos, by part."""

    model_config = ConfigDict(strict=True)

    train: list[str]
    val: list[str]


class Base(BaseModel):
    """The weights that a finetuning began from."""

    model_config = ConfigDict(strict=True)

    name: str
    training: SeenRecord | None


class SeenRecord(BaseModel):
    """What `pipeline.build.plan.leakage.record_of` gives, with the weights before.

    Other fields are for people, and not looked at.
    """

    model_config = ConfigDict(strict=True)

    version: int
    title: str
    dataset: str
    subjects_known: bool
    subjects: Parts
    videos: Parts
    mixed: list[str]
    base: Base
