"""What a store is to hold beside its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from featstore.format.codecs import Codec
from featstore.format.layout import Layout


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a store but its features, known before the first frame is decoded.

    Attributes
    ----------
    layout : Layout
    columns : mapping of str to ndarray
        Every array of ``schema.ARRAYS``.
    attributes : mapping
        Root attributes, the seal excepted; JSON.
    codec : Codec
        How features are stored.
    """

    layout: Layout
    columns: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, Any]
    codec: Codec = field(default_factory=Codec)
