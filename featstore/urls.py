"""URLs as they may be shown and kept: without the user and password that they can hold."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/\s'\"]*@")


def without_credentials(text: str) -> str:
    """Return a text without the users and passwords of the URLs in it.

    Examples
    --------
    >>> without_credentials("https://me:secret@host:8080/a@b.zarr cannot be opened")
    'https://host:8080/a@b.zarr cannot be opened'
    """
    return _USER.sub("", text)
