"""Remove user names, passwords and queries from URLs before they are shown or stored."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"?]*)\?[^\s'\"]*")


def without_credentials(text: str) -> str:
    """Return a text without the user names, passwords and queries of its URLs.

    Signed links carry their key in the query.

    Examples
    --------
    >>> without_credentials("https://me:secret@host:8080/a@b.zarr cannot be opened")
    'https://host:8080/a@b.zarr cannot be opened'
    >>> without_credentials("https://host/a.zarr?X-Amz-Signature=abc has no statistics")
    'https://host/a.zarr has no statistics'
    """
    return _QUERY.sub(r"\1", _USER.sub("", text))
