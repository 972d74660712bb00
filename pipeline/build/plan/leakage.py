"""What finetuned weights have seen: kept in their file, and never to be tested on.

Read without torch, for every build asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore.errors import InputError
from featstore.json_text import parse_object
from featstore.text import listed
from pipeline.sources.base import SPLITS
from pipeline.sources.names import normal

if TYPE_CHECKING:
    from pipeline.build.plan.clips import Clip
    from pipeline.sources.base import Dataset, Source
    from pipeline.video.videos import Video

METADATA = "featstore"
VERSION = 2
Record = dict[str, Any]
# By what val is for, weights that val chose have seen it; val may not have been trained on either.
HELD_OUT = {"test": ("train", "val"), "val": ("train",)}


def record_of(
    source: Source, dataset: Dataset, clips: Sequence[Clip], videos: Sequence[Video]
) -> Record:
    """Return what weights that are trained on a split will have seen, as JSON has it.

    Parameters
    ----------
    source : Source
    dataset : Dataset
    clips : sequence of Clip
        All of the split.
    videos : sequence of Video

    Returns
    -------
    dict
        ``title``, ``dataset``, ``subjects_known``; under ``subjects`` and ``videos`` the names and
        content hashes of ``train`` and ``val``; ``mixed``, those of them with test clips, too.
    """
    content = _by_part(clips, lambda clip: videos[clip.video].sha256)
    subjects = _by_part(clips, lambda clip: clip.subject)
    train, val, test = content["train"], content["val"], content["test"]
    return {
        "version": VERSION,
        "title": dataset.title,
        "dataset": source.dataset,
        "subjects_known": dataset.subjects_known,
        "subjects": {part: sorted(subjects[part]) for part in ("train", "val")},
        "videos": {part: sorted(content[part]) for part in ("train", "val")},
        "mixed": sorted((train | val) & test),
    }


def _by_part(clips: Sequence[Clip], of: Callable[[Clip], str]) -> dict[str, set[str]]:
    """Return what the clips of each part have; those that cannot be read have nothing."""
    values: dict[str, set[str]] = {part: set() for part in SPLITS}
    for clip in clips:
        if not clip.lost:
            values[clip.split].add(of(clip))
    return values


def read_training(path: Path) -> Record | None:
    """Return what a weights file says of its finetuning; None where it was not finetuned here.

    Parameters
    ----------
    path : Path
        Only safetensors files can say so.

    Returns
    -------
    dict or None
        What `record_of` gives, with ``store_key``, ``tuning``, ``best_epoch``, ``history``,
        ``numerics``, ``statistics`` and ``base``: the weights that it began from.

    Raises
    ------
    InputError
        If it was written by a newer version, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "np") as file:
            text = (file.metadata() or {}).get(METADATA)
    except (SafetensorError, OSError):  # said when the tensors are read
        return None
    if text is None:
        return None
    try:
        record = parse_object(text)
        newer = record["version"] > VERSION
        if not newer:
            _check_fields(record)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} does not say what it was trained on: its metadata are damaged ({error}); "
            "finetune again."
        ) from None
    if newer:
        raise InputError(f"{path} was finetuned by a newer featstore; update this one.")
    return record


def _check_fields(record: Record) -> None:
    """Check the fields that `check_unseen` reads.

    Raises
    ------
    ValueError
    """
    from pydantic import ValidationError

    from pipeline.build.plan.leakage_record import SeenRecord

    try:
        SeenRecord.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def check_unseen(
    path: Path,
    training: Record,
    source: Source,
    dataset: Dataset,
    clips: Sequence[Clip],
    videos: Sequence[Video],
) -> list[str]:
    """Refuse weights that were trained on whom a split holds out.

    Names of subjects are compared only within one data set: one that `Source.dataset` names, or
    one of which a video was seen. Videos are compared by content, whoever is in them; where names
    are compared, too, not those in which the split that was trained on held out others.

    Parameters
    ----------
    path : Path
        Of the weights.
    training : dict
        What `read_training` found in it.
    source, dataset, clips, videos
        The split that they are to be used with.

    Returns
    -------
    list of str
        What to say: where equal names could not be told to be the same people or others.

    Raises
    ------
    InputError
        If test holds subjects or videos of its train or val part, or val of its train part.
    """
    every = [(clip, videos[clip.video].sha256) for clip in clips if not clip.lost]
    notes = []
    for seen in _chain(training):
        watched = {*seen["videos"]["train"], *seen["videos"]["val"]}
        one_data_set = seen["dataset"] == source.dataset != "" or any(
            content in watched for _, content in every
        )
        known = seen["subjects_known"] and dataset.subjects_known
        named = known and one_data_set
        for part, parts in HELD_OUT.items():
            own = [(clip.subject, content) for clip, content in every if clip.split == part]
            forbidden = _content(seen, part, named=named)
            found = {subject for subject, content in own if content in forbidden}
            subjects = {normal(s) for other in parts for s in seen["subjects"][other] if known}
            namesakes = subjects & {subject for subject, _ in own}
            if named:
                found |= namesakes
            if found:
                raise InputError(_refusal(path, seen, part, parts, sorted(found)))
            if namesakes:
                notes.append(_doubt(path, seen, part, parts, sorted(namesakes)))
    return list(dict.fromkeys(notes))  # weights before may have seen the same


def _content(seen: Record, part: str, *, named: bool) -> set[str]:
    """Return the videos of which a part may have no clips, whatever its subjects are called.

    Names alone, where they are compared, tell apart who shares a video with those it held out.
    """
    train, val = ({*seen["videos"][name]} for name in ("train", "val"))
    tested = {*seen["mixed"]} if named else set()
    if seen["version"] == 1:  # which has all that train and val share among them
        tested -= train & val
    if part == "test":
        return (train | val) - tested
    return train - tested - (val if named else set())


def _chain(training: Record) -> Iterator[Record]:
    """Yield a finetuning and those before it."""
    record: Record | None = training
    while record is not None:
        yield record
        record = record["base"]["training"]


def _refusal(
    path: Path, seen: Mapping[str, Any], part: str, parts: Sequence[str], names: list[str]
) -> str:
    return (
        f"{path} was finetuned on {seen['title']!r}, which has {listed(names, most=8)} in "
        f"{' or '.join(parts)}, and here they are in {part}: their scores would mean nothing; "
        "finetune on this split's own training clips, or give weights that have not seen them, "
        f"such as those it began from ({seen['base']['name']})."
    )


def _doubt(
    path: Path, seen: Mapping[str, Any], part: str, parts: Sequence[str], names: list[str]
) -> str:
    return (
        f"{path} was finetuned on {seen['title']!r}, which has {listed(names, most=8)} in "
        f"{' or '.join(parts)}, and such names are here in {part}: as no video that "
        "it has seen is here, they could not be told to be the same people; if they are, their "
        "scores mean nothing."
    )
