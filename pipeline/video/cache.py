"""What was once learnt of files, kept so that a second run reads no video.

A file is known by its path, size and modification time; what was learnt of its content is kept
under the content's hash, so it survives moves and copies.
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

TABLES = """
CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, size INT, mtime INT, sha256 TEXT);
CREATE TABLE IF NOT EXISTS video (sha256 TEXT PRIMARY KEY, packed BLOB);
CREATE TABLE IF NOT EXISTS statistics (key TEXT PRIMARY KEY, json TEXT);
"""


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
            database.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            if database is not None:
                database.close()
            raise InputError(f"{self._path} cannot be used ({error}); delete it.") from None
        return database

    def close(self) -> None:
        """Close the database."""
        if "_database" in self.__dict__:
            self._database.close()

    def known_hashes(self, files: Iterable[Path]) -> dict[Path, str]:
        """Return the hashes of those files that have not changed since they were hashed."""
        rows = self._database.execute("SELECT path, size, mtime, sha256 FROM file")
        known = {path: (size, mtime, sha256) for path, size, mtime, sha256 in rows}
        found: dict[Path, str] = {}
        for path in files:
            size, mtime, sha256 = known.get(str(path.resolve()), (None, None, ""))
            if (size, mtime) == signature(path):
                found[path] = sha256
        return found

    def keep_hash(self, path: Path, seen: tuple[int, int], sha256: str) -> None:
        """Keep a file's hash, with the signature that it had before it was read."""
        row = (str(path.resolve()), *seen, sha256)
        self._database.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", row)

    def indexes(self) -> dict[str, bytes]:
        """Return every packed index by content hash."""
        return dict(self._database.execute("SELECT sha256, packed FROM video"))

    def keep_index(self, sha256: str, index: VideoIndex) -> None:
        """Keep the index of the video with this content."""
        row = (sha256, index.pack())
        self._database.execute("INSERT OR REPLACE INTO video VALUES (?, ?)", row)

    def statistics(self, key: str) -> dict[str, Any] | None:
        """Return the statistics kept under `key`, if any."""
        query = "SELECT json FROM statistics WHERE key = ?"
        row = self._database.execute(query, (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def keep_statistics(self, key: str, statistics: dict[str, Any]) -> None:
        """Keep statistics under `key`."""
        row = (key, json.dumps(statistics))
        self._database.execute("INSERT OR REPLACE INTO statistics VALUES (?, ?)", row)


def signature(path: Path) -> tuple[int, int]:
    """Return size and modification time; of a folder, the sum and the latest of its files."""
    if not path.is_dir():
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    found = [entry.stat() for entry in path.iterdir()]
    latest = max((status.st_mtime_ns for status in found), default=0)
    return sum(status.st_size for status in found), max(latest, path.stat().st_mtime_ns)


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and hashes of a folder's numbered images."""
    if not path.is_dir():
        return sha256_of_file(path)
    return digest([[image.name, sha256_of_file(image)] for image in numbered_images(path)])
