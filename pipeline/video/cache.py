"""What was once learnt of files, kept so that a second run reads no video.

A file is known by its path and its `signature`; what was learnt of its content is kept under the
content's hash, so it survives moves and copies.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.format.seal import sha256_of_file
from featstore.keys import digest
from pipeline.video.images import numbered_images
from pipeline.video.index import VideoIndex

# Raised whenever a table, a packed index, or what statistics mean changes: all is learnt anew.
VERSION = 12
MOST_ANSWERS = 20
# The first column is the key; every table has a column more, the checksum of the row.
TABLES = {
    "file": ("path", "signature", "sha256"),
    "video": ("sha256", "packed"),
    "statistics": ("key", "json"),
    "answer": ("request", "json"),
}
DELETE = "delete it, which costs time only"
REMEDIES = {
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_BUSY: "wait for the process that uses it",
    sqlite3.SQLITE_READONLY: "let its folder be writable, or give another with --store",
    sqlite3.SQLITE_CANTOPEN: "let its folder be writable, or give another with --store",
}


class Cache:
    """A SQLite file beside the stores; safe to delete, and safe between processes.

    Parameters
    ----------
    path : Path
        Made on first use, with its folder. Where that may only be read, as of a colleague, what
        it holds is used, and what is learnt is forgotten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def journals(self) -> Path:
        """Where processes note which videos they decode; see `pipeline.video.journal`."""
        return self._path.parent / ".decoding"

    @cached_property
    def _database(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = None
        try:
            database = self._connect()
            # Damaged text fails by its checksum.
            database.text_factory = partial(str, encoding="utf-8", errors="replace")
            # What a power cut destroys can be learnt again, so nothing waits for the disk.
            database.execute("PRAGMA synchronous = OFF")
            _make_tables(database)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if database is not None:
                database.close()
            raise self._unusable(error) from None
        return database

    def _connect(self) -> sqlite3.Connection:
        """Open the file, or a copy of it in memory where it cannot be written."""
        there = self._path.exists()
        if os.access(self._path.parent, os.W_OK) and (not there or os.access(self._path, os.W_OK)):
            return sqlite3.connect(self._path, timeout=60, isolation_level=None)
        database = sqlite3.connect(":memory:", isolation_level=None)
        if there:
            url = f"{self._path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(url, timeout=60, uri=True)) as kept:
                kept.backup(database)
        return database

    def close(self) -> None:
        """Close the database."""
        if "_database" in self.__dict__:
            self._database.close()

    def known_hashes(self, files: Iterable[Path]) -> dict[Path, str]:
        """Return the hashes of those files that have not changed since they were hashed."""
        names = {path: os.path.realpath(path) for path in files}
        rows = self._rows("file", names.values())
        hashes: dict[Path, str] = {}
        for path, name in names.items():
            if name in rows:
                seen, sha256 = rows[name]
                if seen == signature(path):
                    hashes[path] = sha256
        return hashes

    def keep_hash(self, path: Path, seen: str, sha256: str) -> None:
        """Keep a file's hash, with the signature that it had before it was read."""
        self._keep("file", os.path.realpath(path), seen, sha256)

    def indexes(self, hashes: Iterable[str]) -> dict[str, bytes]:
        """Return the packed indexes of the videos with these content hashes."""
        return {sha256: packed for sha256, (packed,) in self._rows("video", hashes).items()}

    def keep_index(self, sha256: str, index: VideoIndex) -> None:
        """Keep the index of the video with this content."""
        self._keep("video", sha256, index.pack())

    def statistics(self, key: str) -> dict[str, Any] | None:
        """Return the statistics kept under `key`, if any."""
        row = self._rows("statistics", [key]).get(key)
        return None if row is None else json.loads(row[0])

    def keep_statistics(self, key: str, statistics: dict[str, Any]) -> None:
        """Keep statistics under `key`."""
        self._keep("statistics", key, json.dumps(statistics))

    def answer(self, request: str) -> str | None:
        """Return the answer kept for a request; see `pipeline.build.repeat`."""
        row = self._rows("answer", [request]).get(request)
        return None if row is None else str(row[0])

    def keep_answer(self, request: str, answer: str) -> None:
        """Keep the answer to a request, and those of the last few requests."""
        self._keep("answer", request, answer)
        newest = f"SELECT rowid FROM answer ORDER BY rowid DESC LIMIT {MOST_ANSWERS}"  # noqa: S608
        self._execute(f"DELETE FROM answer WHERE rowid NOT IN ({newest})")  # noqa: S608

    def _rows(self, table: str, keys: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        """Return the rows with these keys, without those whose checksum is wrong."""
        key = TABLES[table][0]
        query = f"SELECT * FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))"  # noqa: S608
        found = self._execute(query, json.dumps(list(keys)))
        return {row[0]: row[1:-1] for row in found if row[-1] == _checksum(row[:-1])}

    def _keep(self, table: str, *row: Any) -> None:
        places = ", ".join("?" * (len(row) + 1))
        query = f"INSERT OR REPLACE INTO {table} VALUES ({places})"  # noqa: S608
        self._execute(query, *row, _checksum(row))

    def _execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query, values).fetchall()
        # SQLite decodes damaged names of columns, too.
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> InputError:
        # The last byte of SQLite's extended codes is the plain one.
        remedy = REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, DELETE)
        return InputError(f"{self._path} cannot be used ({error}); {remedy}.")


def _checksum(row: tuple[Any, ...]) -> int:
    """Return the checksum of a row's values, whatever types damage has given them."""
    return zlib.crc32(repr(row).encode())


def _make_tables(database: sqlite3.Connection) -> None:
    """Make the tables, dropping those of another version."""
    if _version(database) == VERSION:
        return
    # Whoever waits here for another process finds the tables made.
    database.execute("BEGIN IMMEDIATE")
    if _version(database) != VERSION:
        for name, columns in TABLES.items():
            database.execute(f"DROP TABLE IF EXISTS {name}")
            first, *others = columns
            fields = ", ".join([f"{first} TEXT PRIMARY KEY", *others, "checksum INT"])
            database.execute(f"CREATE TABLE {name} ({fields})")
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
