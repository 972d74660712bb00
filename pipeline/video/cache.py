"""Cache the hashes, indexes and statistics of files, so that a second run reads no video.

A path and a `signature` identify a file. Everything about its content is stored under the content
hash, so it survives moves and copies.
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

CACHE_FILE = ".cache.sqlite"  # in a folder of stores
# Raise it when a table, a packed index or the meaning of statistics changes: it empties the cache.
VERSION = 12
MOST_ANSWERS = 20
# The first column is the key; every table also has a column for the checksum of the row.
TABLES = {
    "file": ("path", "signature", "sha256"),
    "video": ("sha256", "packed"),
    "statistics": ("key", "json"),
    "answer": ("request", "json"),
}
DELETE = "delete it; the next run rebuilds it"
REMEDIES = {
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_BUSY: "wait for the process that uses it",
    sqlite3.SQLITE_READONLY: "make its folder writable, or pass another one with --stores",
    sqlite3.SQLITE_CANTOPEN: "make its folder writable, or pass another one with --stores",
}


class Cache:
    """A SQLite file next to the stores; safe to delete, and safe between processes.

    Parameters
    ----------
    path : Path
        Created on first use, with its folder. A read-only cache, such as a colleague's, is read
        but never updated.
    read_only : bool
        Never create or update it, even where that is possible.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path, self._read_only = path, read_only

    @property
    def journals(self) -> Path:
        """Folder where processes record which videos they decode; see `pipeline.video.journal`."""
        return self._path.parent / ".decoding"

    @cached_property
    def _database(self) -> sqlite3.Connection:
        if not self._read_only:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        database = None
        try:
            database = self._connect()
            # Damaged text fails its checksum.
            database.text_factory = partial(str, encoding="utf-8", errors="replace")
            # A power cut may lose entries; they can be recomputed, so do not wait for the disk.
            database.execute("PRAGMA synchronous = OFF")
            _make_tables(database)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if database is not None:
                database.close()
            raise self._unusable(error) from None
        return database

    def _connect(self) -> sqlite3.Connection:
        """Open the file, or an in-memory copy of it if it is read-only."""
        there = self._path.exists()
        writable = os.access(self._path.parent, os.W_OK)
        writable = writable and (not there or os.access(self._path, os.W_OK))
        if writable and not self._read_only:
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
        """Return the hashes of the files that have not changed since they were hashed."""
        names = {path: os.path.realpath(path) for path in files}
        rows = self._rows("file", names.values())
        hashes: dict[Path, str] = {}
        for path, name in names.items():
            if name in rows:
                seen, sha256 = rows[name]
                if seen == signature(path):
                    hashes[path] = sha256
        return hashes

    def files_of(self, sha256: str) -> list[Path]:
        """Return the files and image folders that had this content, and still have it."""
        rows = self._execute("SELECT path FROM file WHERE sha256 = ?", sha256)
        paths = [path for (name,) in rows if (path := Path(name)).exists()]
        hashes = self.known_hashes(paths)
        # A file that was moved and moved back has another signature.
        return [path for path in paths if (hashes.get(path) or content_hash(path)) == sha256]

    def keep_hash(self, path: Path, seen: str, sha256: str) -> None:
        """Store a file's hash, with the signature from before it was read."""
        self._keep("file", os.path.realpath(path), seen, sha256)

    def indexes(self, hashes: Iterable[str]) -> dict[str, bytes]:
        """Return the packed indexes of the videos with these content hashes."""
        return {sha256: packed for sha256, (packed,) in self._rows("video", hashes).items()}

    def keep_index(self, sha256: str, index: VideoIndex) -> None:
        """Store the index of the video with this content hash."""
        self._keep("video", sha256, index.pack())

    def statistics(self, key: str) -> dict[str, Any] | None:
        """Return the statistics stored under `key`, if any."""
        row = self._rows("statistics", [key]).get(key)
        return None if row is None else json.loads(row[0])

    def keep_statistics(self, key: str, statistics: dict[str, Any]) -> None:
        """Store statistics under `key`."""
        self._keep("statistics", key, json.dumps(statistics))

    def answer(self, request: str) -> str | None:
        """Return the answer stored for a request; see `pipeline.build.repeat`."""
        row = self._rows("answer", [request]).get(request)
        return None if row is None else str(row[0])

    def keep_answer(self, request: str, answer: str) -> None:
        """Store the answer to a request, and drop all but the most recent answers."""
        self._keep("answer", request, answer)
        newest = f"SELECT rowid FROM answer ORDER BY rowid DESC LIMIT {MOST_ANSWERS}"  # noqa: S608
        self._execute(f"DELETE FROM answer WHERE rowid NOT IN ({newest})")  # noqa: S608

    def _rows(self, table: str, keys: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        """Return the rows with these keys; skip rows with a wrong checksum."""
        key = TABLES[table][0]
        query = f"SELECT * FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))"  # noqa: S608
        matches = self._execute(query, json.dumps(list(keys)))
        return {row[0]: row[1:-1] for row in matches if row[-1] == _checksum(row[:-1])}

    def _keep(self, table: str, *row: Any) -> None:
        placeholders = ", ".join("?" * (len(row) + 1))
        query = f"INSERT OR REPLACE INTO {table} VALUES ({placeholders})"  # noqa: S608
        self._execute(query, *row, _checksum(row))

    def _execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query, values).fetchall()
        # SQLite decodes column names too, and they may be damaged.
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> InputError:
        # The last byte of SQLite's extended codes is the plain one.
        remedy = REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, DELETE)
        return InputError(f"{self._path} cannot be used ({error}); {remedy}.")


def _checksum(row: tuple[Any, ...]) -> int:
    """Return the checksum of a row's values; damage may have changed their types."""
    return zlib.crc32(repr(row).encode())


def _make_tables(database: sqlite3.Connection) -> None:
    """Create the tables; drop tables of another version."""
    if _version(database) == VERSION:
        return
    # Another process may have created the tables while this one waited for the lock.
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
    """Return a value that changes when a file, or an image of a folder, changes; reads no content.

    A replaced file can have the same size and modification time. Nobody can set the inode
    number or the inode's change time.
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
