"""Keys of features and stores: hashes of canonical JSON of everything that determines them.

The *feature key* covers everything that determines the features of one clip. The *store key* covers
the feature configuration and the ordered list of clips, with all that training needs. Neither
depends on a path, a date, a batch size, a number of workers, a device or a version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]
# Fields that are part of a clip's key only if they are not empty.
RARE = ("shown", "begins")


class ClipKey(NamedTuple):
    """The fields of one clip that a store key covers.

    Attributes
    ----------
    clip_id : str
    video : str
        SHA-256 of the video's content, hexadecimal; followed by ``#1`` for its second video
        stream.
    pixel_range : str
        Assumed range of the pixel values, ``full`` or ``limited``; after a comma, exceptions in
        how they are read, such as ``full, mirrored``.
    start, stop : int
        The interval ``[start, stop)`` in frames.
    label, subject, split : str
    shown : str
        Time stamps of the clip's begin and end, if they select other frames; empty if the frames
        follow from the interval.
    begins : str
        Seconds from the beginning of the file to that of the video; empty if it is 0.
    """

    clip_id: str
    video: str
    pixel_range: str
    start: int
    stop: int
    label: str
    subject: str
    split: str
    shown: str = ""
    begins: str = ""


def canonical_json(value: object) -> str:
    """Return the canonical JSON of `value`: sorted keys, no blanks, ASCII, no NaN.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [1.5, None]})
    '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def store_key(
    features: Mapping[str, Any],
    classes: Sequence[str],
    clips: Iterable[ClipKey],
    *,
    subjects_known: bool = True,
) -> str:
    """Return the key of a store, 64 hexadecimal digits.

    Parameters
    ----------
    features : mapping
        The feature configuration. It holds the definition of the statistics
        (``{"from": "split"}``), because the clip list determines the training clips.
    classes : sequence of str
    clips : iterable of ClipKey
        In the order of the store.
    subjects_known : bool
        Whether `ClipKey.subject` is a real subject; otherwise each video counts as one.
    """
    return digest(
        {
            "features": features,
            "classes": list(classes),
            "subjects_known": subjects_known,
            "clips": [_listed(clip) for clip in clips],
        }
    )


def feature_key(
    features: Mapping[str, Any], mean: Sequence[float], std: Sequence[float], clip: ClipKey
) -> str:
    """Return the key of one clip's features, 64 hexadecimal digits.

    It does not cover label, subject, split, clip id or order: stores with the same feature key
    hold the same rows.

    Parameters
    ----------
    features : mapping
        The feature configuration; the values of the statistics replace their definition.
    mean, std : sequence of float
        One value per channel, of pixels in 0..1.
    clip : ClipKey
    """
    values = with_values(features, mean, std)
    interval = [clip.video, clip.pixel_range, clip.start, clip.stop, *filter(None, [clip.shown])]
    return digest({"features": values, "interval": interval})


def with_values(features: Mapping[str, Any], mean: Sequence[float], std: Sequence[float]) -> Json:
    """Return a feature configuration with mean and std in place of their definition."""
    return {**features, "normalise": {"mean": list(mean), "std": list(std)}}


def without_normalise(features: Mapping[str, Any]) -> Json:
    """Return a feature configuration without `normalise`, to compare mean and std by value.

    Examples
    --------
    >>> without_normalise({"fused": {"1": {"size": 32, "normalise": {"from": "split"}}}})
    {'fused': {'1': {'size': 32}}}
    """
    return {
        name: without_normalise(value) if isinstance(value, Mapping) else value
        for name, value in features.items()
        if name != "normalise"
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return every field in which two configurations differ, with both values.

    Examples
    --------
    >>> differences({"size": 224, "a": {"b": 1}}, {"size": 112, "a": {"b": 1}})
    ['size: 224 -> 112']
    """
    lines: list[str] = []
    for field in sorted({*old, *new}):
        before, after = old.get(field), new.get(field)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{field}.")
        else:
            lines.append(f"{prefix}{field}: {_short(before)} -> {_short(after)}")
    return lines


def _listed(clip: ClipKey) -> list[Any]:
    """Return a clip as a list, without empty optional fields."""
    rare = {name: value for name in RARE if (value := getattr(clip, name))}
    return [*clip[: -len(RARE)], *([rare] if rare else [])]


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:19]}...{text[-16:]}"
