"""Names made of content: what determines features and stores, as canonical JSON and its hash.

Two keys exist. The *feature key* covers what determines the features of one clip; the *store key*
covers the feature configuration and the ordered list of clips with all that training needs.
Neither holds a path, a date, a batch size, a number of workers, a device or a version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]
# Fields of a clip's key that stand in it only where they are not empty.
RARE = ("shown", "begins")


class ClipKey(NamedTuple):
    """The part of one clip that a store key covers.

    Attributes
    ----------
    clip_id : str
    video : str
        SHA-256 of the video's content, hexadecimal; ``#1`` follows where its second video stream
        is meant.
    pixel_range : str
        Range that the video's pixel values are taken to have, ``full`` or ``limited``; behind a
        comma, how else they are read where that is not the rule, such as ``full, mirrored``.
    start, stop : int
        The interval ``[start, stop)`` in frames.
    label, subject, split : str
    shown : str
        Time stamps at which the clip begins and ends, where it takes other frames for them; empty
        where its frames follow from the interval.
    begins : str
        How many seconds after its file the video begins; empty where both begin together.
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
    """Return the one JSON text of `value`: keys sorted, no blanks, ASCII, no NaN.

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
        The feature configuration. Statistics stand in it by definition (``{"from": "split"}``),
        for the clip list says which training clips they are measured on.
    classes : sequence of str
    clips : iterable of ClipKey
        In the order of the store.
    subjects_known : bool
        Whether `ClipKey.subject` is a subject, and not a video that stands in for one.
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

    Label, subject, split, clip id and order have no part in it: where two stores hold the same
    feature key, they hold the same rows.

    Parameters
    ----------
    features : mapping
        The feature configuration; its definition of the statistics is replaced by their values.
    mean, std : sequence of float
        One value per channel, of pixels in 0..1.
    clip : ClipKey
    """
    values = {**features, "normalise": {"mean": list(mean), "std": list(std)}}
    interval = [clip.video, clip.pixel_range, clip.start, clip.stop, *filter(None, [clip.shown])]
    return digest({"features": values, "interval": interval})


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name every field in which two configurations differ, with both values.

    Examples
    --------
    >>> differences({"size": 224, "a": {"b": 1}}, {"size": 112, "a": {"b": 1}})
    ['size: 224 -> 112']
    """
    found: list[str] = []
    for field in sorted({*old, *new}):
        before, after = old.get(field), new.get(field)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{field}.")
        else:
            found.append(f"{prefix}{field}: {_short(before)} -> {_short(after)}")
    return found


def _listed(clip: ClipKey) -> list[Any]:
    """Return a clip as a list, without the fields that only few clips have."""
    rare = {name: value for name in RARE if (value := getattr(clip, name))}
    return [*clip[: -len(RARE)], *([rare] if rare else [])]


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:19]}...{text[-16:]}"
