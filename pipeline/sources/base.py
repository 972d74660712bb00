"""What every source gives: annotated clips, classes and advice, without touching a pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from featstore.errors import InputError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotated interval of one video, as its source states it.

    Attributes
    ----------
    clip_id : str
        Stable name of the clip, unique in its data set and the same in every view of it.
    video : str
        Name of the video in the data set: a relative path with forward slashes.
    path : Path
        Where the video, or the folder of numbered images, lies on this machine.
    start, stop : int, float or None
        The interval ``[start, stop)`` in `unit`; both None mean the whole video.
    unit : {"frames", "seconds"}
        Unit of `start` and `stop`.
    label, subject : str
        Names, not numbers. Without known subjects, `subject` is the video's name.
    split : {"train", "val", "test"}
    """

    clip_id: str
    video: str
    path: Path
    start: float | None
    stop: float | None
    unit: Literal["frames", "seconds"]
    label: str
    subject: str
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a source read, validated, with its advice on how to read the videos.

    Attributes
    ----------
    title : str
        A few words for people, such as ``driveact kinect_ir midlevel split 0``.
    annotations : tuple of Annotation
    classes : tuple of str
        The class list; a label's position in it is its number. May hold classes without clips.
    subjects_known : bool
        False where each video had to stand in for a subject.
    fps : float or None
        Advised sampling rate in frames per second; None means every frame.
    video_rate : float or None
        Frame rate that the annotations assume, where the source knows it.
    pixels : {"luma", "rgb"}
        Advised pixel mode.
    unit_assumed : bool
        Whether nobody said that intervals are in frames.
    min_frames : int
        Clips with fewer video frames than this are dropped, and counted.
    notes : tuple of str
        Warnings to show to the user, one sentence each.
    """

    title: str
    annotations: tuple[Annotation, ...]
    classes: tuple[str, ...]
    subjects_known: bool
    fps: float | None = None
    video_rate: float | None = None
    pixels: Literal["luma", "rgb"] = "rgb"
    unit_assumed: bool = False
    min_frames: int = 1
    notes: tuple[str, ...] = ()


def option(default: Any = MISSING, *, help: str, choices: Sequence[str] | None = None) -> Any:
    """Declare a dataclass field that is also a flag of ``featstore build``.

    Parameters
    ----------
    default
        Value where the flag is not given; without it the flag is required by that source.
    help : str
        One line for ``--help``.
    choices : sequence of str, optional
        The values allowed.
    """
    return field(default=default, metadata={"help": help, "choices": choices})


class Source(ABC):
    """A reader of one way to annotate videos.

    A subclass is a frozen, keyword-only dataclass in a module of its own in this package: its
    fields, made with `option`, become flags of ``featstore build``, and `read` does the work.

    Attributes
    ----------
    name : str
        What ``--source`` calls it.
    dataset : str
        The one data set that it reads, whose subjects have the same names in every view of it;
        empty for a source of any data.
    """

    name: ClassVar[str]
    dataset: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Refuse a value that is not among its field's choices."""
        for entry in fields(cast("Any", self)):
            choices, value = entry.metadata.get("choices"), getattr(self, entry.name)
            if choices and value is not None and value not in choices:
                raise InputError(
                    f'--{entry.name.replace("_", "-")} "{value}" is unknown; '
                    f"choose from {', '.join(choices)}"
                )

    @abstractmethod
    def read(self) -> Dataset:
        """Read the annotations.

        Raises
        ------
        InputError
            If a file is missing, empty or malformed, a label is unknown, or subjects overlap.
        """
