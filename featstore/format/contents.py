"""The content of a store to write, except its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from featstore.format.codecs import Codec
from featstore.format.layout import Layout


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a store except features; complete before the first frame is decoded.

    Attributes
    ----------
    layout : Layout
    columns : mapping of str to ndarray
        Every array of ``schema.ARRAYS``.
    attributes : mapping
        Root attributes without the seal; JSON.
    codec : Codec
        The codec of stored features.
    """

    layout: Layout
    columns: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, Any]
    codec: Codec = field(default_factory=Codec)
