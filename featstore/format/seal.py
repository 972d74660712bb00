"""The seal of a finished store: the checksum of every file, and of the seal itself.

The seal is part of the root attributes, which are written last. It lists the SHA-256 of every other
file, and ends with the SHA-256 of all root attributes including the seal. So checksums cover every
byte of a sealed store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featstore.errors import CorruptStoreError
from featstore.format import schema
from featstore.keys import digest

# Root attributes take about 100 bytes per 8 MiB of features.
MOST_ROOT = 2**28


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256(content: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sealed(attributes: Mapping[str, Any], files: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Return `attributes` with a seal that covers `files` and the attributes.

    Parameters
    ----------
    attributes : mapping
        Root attributes.
    files : mapping of str to str
        Name to SHA-256.
    **more
        Further entries of the seal, by format.
    """
    seal = {"algorithm": "sha256", "files": dict(sorted(files.items())), **more}
    attributes = {**attributes, "seal": seal}
    return {**attributes, "seal_sha256": digest(attributes)}


def unsealed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return root attributes without their seal."""
    return {k: v for k, v in attributes.items() if k not in ("seal", "seal_sha256")}


def check_seal(attributes: Mapping[str, Any], where: str) -> None:
    """Compare the root attributes with their checksum; do not read the files.

    Raises
    ------
    SchemaError
        If the schema is missing or newer than this version's.
    CorruptStoreError
        If the attributes were changed after sealing.
    """
    schema.check_version(attributes, where)
    covered = {name: value for name, value in attributes.items() if name != "seal_sha256"}
    if digest(covered) != attributes.get("seal_sha256"):
        raise CorruptStoreError(
            f"{where}: the metadata do not match their checksum, so they were changed after the "
            f"store was sealed; {REMEDY}."
        )


REMEDY = "restore the store from a copy, or repair it with its build command and --repair"


def check(content: bytes | memoryview, expected: str | None, what: str) -> None:
    """Compare bytes with their checksum in the seal.

    Raises
    ------
    CorruptStoreError
        If they differ, or the seal does not list them.
    """
    if sha256(content) != expected:
        raise CorruptStoreError(f"{what} was changed after the store was sealed; {REMEDY}.")
