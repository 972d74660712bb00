"""List the labelled segments in the layout of MS-TCN (Breakfast, 50Salads, GTEA and others).

::

    features/VIDEO.npy               (dim, steps)
    groundTruth/VIDEO.txt            one label per step
    mapping.txt                      "0 label", one line per class
    splits/train.split1.bundle       "VIDEO.txt", one line per video; also test, and maybe val

The layout is that of https://github.com/yabufarha/ms-tcn (Abu Farha and Gall, 2019, "MS-TCN:
Multi-Stage Temporal Convolutional Network for Action Segmentation"). As its ``batch_gen.py``,
read as many steps as both features and labels have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import numpy as np

from featstore.errors import InputError
from featstore.exchange.npy_arrays import FileArray, one_clip
from featstore.text import count_of
from pipeline.ingest.clip_file import even_times
from pipeline.ingest.files import Named, find_files, stems_below
from pipeline.ingest.plan import ImportOptions, ListedClip, Listing
from pipeline.sources.base import SPLITS, Split
from pipeline.sources.draft import Draft
from pipeline.sources.labels import listing, read_classes
from pipeline.sources.rows import read_lines

TRUTH, FEATURES, SPLIT_FOLDER, MAPPING = "groundTruth", "features", "splits", "mapping.txt"
_BUNDLE = re.compile(r"(train|val|test)\.split(\d+)\.bundle")
# Features and labels of one video differ by a few steps in the published data.
MOST_DIFFERENCE = 0.1


def is_mstcn(source: Path) -> bool:
    """Tell whether a folder has the layout of MS-TCN."""
    return (source / TRUTH).is_dir()


def list_mstcn(options: ImportOptions) -> Listing:
    """Return every run of equal labels as a clip, called ``VIDEO#first-stop`` by its steps.

    Raises
    ------
    InputError
        If a file is missing, or features and labels differ by more than a tenth of the steps.
    """
    source = options.source
    if not (source / FEATURES).is_dir():
        raise InputError(f"{source} has {TRUTH} but no {FEATURES}; add the folder of features.")
    named, parts, title = _videos(options)
    stems = stems_below(source / FEATURES)
    files, notes = find_files(source / FEATURES, stems, named, allow_missing=options.allow_missing)
    clips: list[ListedClip] = []
    cut = []
    for name, part, file in zip(named, parts, files, strict=True):
        if file is None:
            continue
        array, labels, truth = _recording(source, name, file.path)
        if len(labels) != array.steps:
            cut.append(abs(len(labels) - array.steps))
        clips += _segments(name.clip_id, array, labels, truth, part, options.fps)
    unlisted = len(stems.keys() - {name.stem for name in named})
    if unlisted:
        notes.append(f"skipped: {count_of(unlisted, 'file')} of features without a split")
    if cut:
        notes.append(
            f"{count_of(len(cut), 'video')} with more steps than labels, or fewer: cut by at most "
            f"{max(cut)}"
        )
    mapping = source / MAPPING
    classes = read_classes(mapping) if mapping.exists() and options.classes is None else None
    return Listing(title, clips, classes, notes)


def _videos(options: ImportOptions) -> tuple[list[Named], list[Split | None], str]:
    """Return the videos, their parts, and a title."""
    source, title = options.source, options.source.resolve().name
    if options.folds is not None:
        truths = sorted((source / TRUTH).glob("*.txt"))
        if not truths:
            raise InputError(f"{source / TRUTH} has no .txt file; add one per video.")
        return [Named(str(p), p.stem, p.stem) for p in truths], [None] * len(truths), title
    bundles = _bundles(source / SPLIT_FOLDER)
    numbers = sorted({number for _, number in bundles})
    split = numbers[0] if options.split is None and len(numbers) == 1 else options.split
    if split not in numbers:
        there = listing([str(number) for number in numbers])
        what = "needs --split N" if split is None else f"has no split {split}"
        raise InputError(f"{source} {what}; choose one of {there}, or pass --folds K --fold I.")
    named: list[Named] = []
    parts: list[Split | None] = []
    for part in SPLITS:
        path = bundles.get((part, split))
        for number, line in read_lines(path) if path else ():
            video = line.removesuffix(".txt")
            named.append(Named(f"{path} row {number}", video, video))
            parts.append(part)
    return named, parts, f"{title} split {split}"


def _bundles(folder: Path) -> dict[tuple[str, int], Path]:
    """Return the lists of videos by part and number of the split."""
    bundles = {}
    for path in folder.glob("*.bundle"):
        if match := _BUNDLE.fullmatch(path.name):
            bundles[match[1], int(match[2])] = path
    if not bundles:
        raise InputError(
            f"{folder} has no train.split1.bundle or the like; add the lists of videos, or pass "
            "--folds K --fold I."
        )
    return bundles


def _recording(source: Path, name: Named, path: Path) -> tuple[FileArray, list[str], Path]:
    """Return the features of a video as (steps, dim), its labels, and their file."""
    truth = source / TRUTH / f"{name.clip_id}.txt"
    labels = [line for _, line in read_lines(truth)]
    inspected = one_clip(path)
    array = replace(inspected, stop=inspected.dim, dim=inspected.steps, transposed=True)
    longest = max(array.steps, len(labels))
    if abs(array.steps - len(labels)) > MOST_DIFFERENCE * longest:
        remedy = "use features at the rate of the labels"
        if abs(array.dim - len(labels)) <= MOST_DIFFERENCE * longest:
            remedy = "transpose it, np.save(name, array.T)"
        raise InputError(
            f"{path} has shape {(array.dim, array.steps)}, which is (dim, steps), but {truth} has "
            f"{len(labels)} labels; {remedy}."
        )
    return array, labels, truth


def _segments(
    video: str,
    array: FileArray,
    labels: Sequence[str],
    truth: Path,
    part: Split | None,
    fps: Fraction | None,
) -> Iterator[ListedClip]:
    """Yield a clip for every run of equal labels."""
    first = 0
    for label, run in groupby(labels[: array.steps]):
        stop = first + len(list(run))
        draft = Draft(
            clip_id=f"{video}#{first}-{stop}",
            video=video,
            path=array.path,
            label=label,
            where=f"{truth} row {first + 1}",
            start=first,
            stop=stop,
            split=part,
        )
        frame = np.arange(first, stop)
        yield ListedClip(
            draft, replace(array, start=first, stop=stop), frame, even_times(frame, fps)
        )
        first = stop
