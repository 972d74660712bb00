"""The seal: what a finished store consists of, file by file, and its own checksum.

The seal stands in the attributes of the root ``zarr.json``, which is written last. It lists every
other file of the store with its SHA-256, and ends with the SHA-256 of all root attributes, itself
included, so that no byte of a sealed store is without a checksum.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featstore.errors import CorruptStoreError
from featstore.keys import digest

ROOT_FILE = "zarr.json"


def file_checksums(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `root` but the root metadata, by relative path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): sha256_of_file(path)
        for path in files
        if path != root / ROOT_FILE
    }


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sealed(attributes: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Return `attributes` with the seal over `files` and over themselves."""
    attributes = {**attributes, "seal": {"algorithm": "sha256", "files": dict(files)}}
    return {**attributes, "seal_sha256": digest(attributes)}


def check_seal(attributes: Mapping[str, Any], where: str) -> None:
    """Compare the root attributes with the checksum that ends them; the files are not read.

    Raises
    ------
    CorruptStoreError
        If the attributes were changed after sealing.
    """
    covered = {name: value for name, value in attributes.items() if name != "seal_sha256"}
    if digest(covered) != attributes.get("seal_sha256"):
        raise CorruptStoreError(
            f"{where}: the metadata disagree with the store's own checksum, so it was changed "
            "after it was sealed; restore it from a copy or build it again."
        )


def check_small_files(root: Path, attributes: Mapping[str, Any]) -> None:
    """Compare every file but the chunks of the features with its checksum; they are small.

    Raises
    ------
    CorruptStoreError
        If a file is missing or was changed.
    """
    for name, checksum in attributes["seal"]["files"].items():
        if name.startswith("features/c/"):
            continue
        path = root / name
        if not path.is_file() or sha256_of_file(path) != checksum:
            state = "was changed after the store was sealed" if path.is_file() else "is missing"
            raise CorruptStoreError(
                f"{path} {state}; restore the store from a copy, or remove it and build it again."
            )


def sync_tree(root: Path) -> None:
    """Force every file and folder below `root` onto the disk."""
    for path in (root, *root.rglob("*")):
        sync(path)


def sync(path: Path) -> None:
    """Force one file or folder onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
