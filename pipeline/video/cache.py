"""What was once learnt of files, kept so that a second run reads no video.

A file is known by its path and its `signature`; what was learnt of its content is kept under the
content's hash, so it survives moves and copies.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.keys import digest
from featstore.seal import sha256_of_file
from pipeline.video.images import numbered_images
from pipeline.video.index import VideoIndex

# Raised whenever a table, a packed index, or what statistics mean changes: all is learnt anew.
VERSION = 6
TABLES = {
    "file": "path TEXT PRIMARY KEY, signature TEXT, sha256 TEXT",
    "video": "sha256 TEXT PRIMARY KEY, packed BLOB",
    "statistics": "key TEXT PRIMARY KEY, json TEXT",
}


class Cache:
    """A SQLite file beside the stores; safe to delete, and safe between processes.

    Parameters
    ----------
    path : Path
        Made on first use, with its folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _database(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = None
        try:
            database = sqlite3.connect(self._path, timeout=60, isolation_level=None)
            # What a power cut destroys can be learnt again, so nothing waits for the disk.
            database.execute("PRAGMA synchronous = OFF")
            _make_tables(database)
        except sqlite3.DatabaseError as error:
            if database is not None:
                database.close()
            raise InputError(f"{self._path} cannot be used ({error}); delete it.") from None
        return database

    def close(self) -> None:
        """Close the database."""
        if "_database" in self.__dict__:
            self._database.close()

    def _rows(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self._path} cannot be used ({error}); delete it.") from None

    def known_hashes(self, files: Iterable[Path]) -> dict[Path, str]:
        """Return the hashes of those files that have not changed since they were hashed."""
        rows = self._rows("SELECT path, signature, sha256 FROM file")
        known = {path: (seen, sha256) for path, seen, sha256 in rows}
        found: dict[Path, str] = {}
        for path in files:
            seen, sha256 = known.get(str(path.resolve()), (None, ""))
            if seen is not None and seen == signature(path):
                found[path] = sha256
        return found

    def keep_hash(self, path: Path, seen: str, sha256: str) -> None:
        """Keep a file's hash, with the signature that it had before it was read."""
        row = (str(path.resolve()), seen, sha256)
        self._rows("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", *row)

    def indexes(self) -> dict[str, bytes]:
        """Return every packed index by content hash."""
        return dict(self._rows("SELECT sha256, packed FROM video"))

    def keep_index(self, sha256: str, index: VideoIndex) -> None:
        """Keep the index of the video with this content."""
        row = (sha256, index.pack())
        self._rows("INSERT OR REPLACE INTO video VALUES (?, ?)", *row)

    def statistics(self, key: str) -> dict[str, Any] | None:
        """Return the statistics kept under `key`, if any."""
        query = "SELECT json FROM statistics WHERE key = ?"
        rows = self._rows(query, key)
        return json.loads(rows[0][0]) if rows else None

    def keep_statistics(self, key: str, statistics: dict[str, Any]) -> None:
        """Keep statistics under `key`."""
        row = (key, json.dumps(statistics))
        self._rows("INSERT OR REPLACE INTO statistics VALUES (?, ?)", *row)


def _make_tables(database: sqlite3.Connection) -> None:
    """Make the tables, dropping those of another version."""
    if _version(database) == VERSION:
        return
    # Whoever waits here for another process finds the tables made.
    database.execute("BEGIN IMMEDIATE")
    if _version(database) != VERSION:
        for name, columns in TABLES.items():
            database.execute(f"DROP TABLE IF EXISTS {name}")
            database.execute(f"CREATE TABLE {name} ({columns})")
        database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def signature(path: Path) -> str:
    """Return what changes when a file does, or any image of a folder, without reading them.

    Size and modification time can be those of another file; when the system last changed the
    file's entry, and its number on the disk, cannot be set.
    """
    if not path.is_dir():
        return " ".join(map(str, _stamp(path)))
    return digest([[image.name, *_stamp(image)] for image in numbered_images(path)])


def _stamp(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and hashes of a folder's numbered images."""
    if not path.is_dir():
        return sha256_of_file(path)
    return digest([[image.name, sha256_of_file(image)] for image in numbered_images(path)])
