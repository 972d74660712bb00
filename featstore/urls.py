"""Remove user names and passwords from URLs before they are shown or stored."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/\s'\"]*@")


def without_credentials(text: str) -> str:
    """Return a text without the user names and passwords of its URLs.

    Examples
    --------
    >>> without_credentials("https://me:secret@host:8080/a@b.zarr cannot be opened")
    'https://host:8080/a@b.zarr cannot be opened'
    """
    return _USER.sub("", text)
