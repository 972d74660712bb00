"""The result of every source: annotated clips, classes and advice; no pixel is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from featstore.errors import InputError
from pipeline.sources.labels import ClassList

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotated interval of one video, as its source states it.

    Attributes
    ----------
    clip_id : str
        Stable name of the clip, unique in its data set and equal in all views of it.
    video : str
        Name of the video in the data set: a relative path with forward slashes.
    path : Path
        Local path of the video, or of the folder of numbered images.
    start, stop : int, float or None
        The interval ``[start, stop)`` in `unit`; both None mean the whole video.
    unit : {"frames", "seconds"}
        Unit of `start` and `stop`.
    label, subject : str
        Names, not numbers. Without known subjects, `subject` is the video's name. Clips for a
        trained run may have an empty label.
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
    """The validated clips of a source, with advice on how to read the videos.

    Attributes
    ----------
    title : str
        A readable title, such as ``driveact kinect_ir midlevel split 0``.
    annotations : tuple of Annotation
    classes : tuple of str
        The class list; a label's position is its number. It may include classes without clips.
    subjects_known : bool
        False if each video counts as a subject.
    fps : float or None
        Advised sampling rate in frames per second; None means every frame.
    video_rate : float or None
        Frame rate that the annotations assume, if the source knows it.
    pixels : {"luma", "rgb"}
        Advised pixel mode.
    unit_assumed : bool
        Whether frames are only the default unit of intervals.
    min_frames : int
        Builds skip and count clips with fewer video frames.
    notes : tuple of str
        Warnings for the user, one sentence each.
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
        Default value of the flag; without it, the source requires the flag.
    help : str
        One line for ``--help``.
    choices : sequence of str, optional
        The allowed values.
    """
    return field(default=default, metadata={"help": help, "choices": choices})


class Source(ABC):
    """A reader of one annotation format.

    A subclass is a frozen, keyword-only dataclass in a separate module of this package. Its
    fields, made with `option`, become flags of ``featstore build``; `read` reads the annotations.

    Attributes
    ----------
    name : str
        Its name in ``--source``.
    dataset : str
        The data set that it reads, with equal subject names in all views; empty for a source of
        any data.
    """

    name: ClassVar[str]
    dataset: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check the values of fields with choices."""
        for entry in fields(cast("Any", self)):
            choices, value = entry.metadata.get("choices"), getattr(self, entry.name)
            if choices and value is not None and value not in choices:
                raise InputError(
                    f'--{entry.name.replace("_", "-")} "{value}" is unknown; '
                    f"choose from {', '.join(choices)}"
                )

    @abstractmethod
    def read(self, like: ClassList | None = None) -> Dataset:
        """Read the annotations.

        Parameters
        ----------
        like : ClassList, optional
            The classes of a trained run that the clips are for. Labels, and clips of train and
            val, may then be missing.

        Raises
        ------
        InputError
            If a file is missing, empty or malformed, a label is unknown, or subjects overlap.
        """
