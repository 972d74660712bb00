"""Read and write a store's files in a folder, a zip archive, or a bucket.

Three small classes with one interface; they do not interpret the files. They read and write whole
files, and every write is atomic.
"""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from featstore.errors import InputError

ZIP_SUFFIX = ".zip"
COPY_BYTES = 2**20
TEMPORARY = (
    r"\.[0-9a-f]+\.tmp"  # the suffix that `replacing` adds to a name, as a regular expression
)


class Files(Protocol):
    """Files by name, with forward slashes.

    Attributes
    ----------
    location : str
        Argument of `files_at`, valid in any folder and process.
    """

    @property
    def location(self) -> str: ...  # noqa: D102

    def names(self) -> Iterator[str]:
        """Yield the names of all files, in any order."""

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes.

        Raise `FileNotFoundError` if there is no such file, and `OSError` without reading if it is
        larger than `most` bytes.
        """

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file atomically."""


def is_remote(location: object) -> bool:
    """Tell whether a location is a URL such as ``s3://bucket/name``, not a local path."""
    return isinstance(location, str) and "://" in location


def location_of(name: Path | str) -> Path | str:
    """Return a URL as a string, and any other name as a `Path`, which is always local."""
    return name if is_remote(name) else Path(name)


def files_at(location: Path | str) -> Files:
    """Return the files of a folder, of a zip archive, or below a URL.

    Parameters
    ----------
    location : Path or str
        fsspec opens a URL, with credentials and endpoints from its usual configuration.
    """
    location = location_of(location)
    if not isinstance(location, Path):
        return Bucket(location)
    return Archive(location) if location.suffix == ZIP_SUFFIX else Folder(location)


class Folder:
    """Files in a local folder; `make` creates the folder, and `write` only its subfolders."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def location(self) -> str:
        """The absolute path."""
        return str(self.path.absolute())

    def make(self) -> None:
        """Create the folder, if it does not exist."""
        self.path.mkdir(parents=True, exist_ok=True)

    def names(self) -> Iterator[str]:
        """Yield the names of all files in the folder."""
        for folder, _, files in os.walk(self.path):
            below = Path(folder).relative_to(self.path)
            yield from ((below / name).as_posix() for name in files)

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes."""
        with (self.path / name).open("rb") as stream:
            _check_size(os.fstat(stream.fileno()).st_size, most)
            return stream.read()

    def write(self, name: str, content: bytes | memoryview, *, last: bool = False) -> None:
        """Write a file under a temporary name and rename it; `sync_tree` or `last` sync it.

        Raises
        ------
        InputError
            If the folder was removed or renamed since it was created.
        """
        path = self.path / name
        missing = [*path.relative_to(self.path).parents][:-1]
        with suppress(FileNotFoundError):
            for folder in reversed(missing):
                (self.path / folder).mkdir(exist_ok=True)
        if not self.path.is_dir():
            raise InputError(
                f"{self.path} was removed or renamed while it was written; run the same command "
                "again."
            )
        with replacing(path) as temporary:
            temporary.write_bytes(content)
            if last:
                sync(temporary)
        if last:
            sync(path.parent)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink(missing_ok=True)


class Archive:
    """Files in a read-only zip archive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    @property
    def _zip(self) -> zipfile.ZipFile:
        # Reopen it after a fork, because processes would share the file offset.
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self._path)
            except zipfile.BadZipFile as error:
                raise InputError(
                    f"{self._path} cannot be read as a zip archive ({error}); copy it again."
                ) from None
        return self._opened[1]

    @property
    def location(self) -> str:
        """The absolute path."""
        return str(self._path.absolute())

    def names(self) -> Iterator[str]:
        """Yield the names of all files in the archive."""
        return (name for name in self._zip.namelist() if not name.endswith("/"))

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes."""
        opened = self._zip
        try:
            _check_size(opened.getinfo(name).file_size, most)
            return opened.read(name)
        except KeyError:
            raise FileNotFoundError(f"{name} is not in {self._path}") from None
        # The archive's checksum failed; another tool may have repacked the archive.
        except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, ValueError) as error:
            raise OSError(str(error)) from None

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Refuse, because writes to an archive are not atomic."""
        raise InputError(f"{self._path} is a zip archive, which is read-only; pass a folder.")


class Bucket:
    """Objects below a URL, accessed with fsspec."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._opened: tuple[int, Any, str] | None = None

    @property
    def _filesystem(self) -> tuple[Any, str]:
        # Reopen it after a fork, because the parent's network threads do not exist in the child.
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            try:
                self._opened = os.getpid(), *fsspec.url_to_fs(self.url)
            except (ImportError, ValueError) as error:
                raise InputError(
                    f"{self.url} cannot be opened ({error}); for s3:// pip install s3fs."
                ) from None
        return self._opened[1:]

    @property
    def location(self) -> str:
        """The URL."""
        return self.url

    def names(self) -> Iterator[str]:
        """Yield the names of all objects below the URL."""
        system, root = self._filesystem
        system.invalidate_cache()  # other processes may have written since the last listing
        try:
            with _network_errors():
                paths = system.find(root)
        except FileNotFoundError:  # a missing bucket, like a missing folder
            paths = []
        return (name.removeprefix(f"{root}/") for name in paths)

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return an object's bytes."""
        system, root = self._filesystem
        with _network_errors():
            end = None if most is None else most + 1
            content = bytes(system.cat_file(f"{root}/{name}", end=end))
        _check_size(len(content), most)
        return content

    def remove(self, name: str) -> None:
        """Remove an object."""
        system, root = self._filesystem
        with _network_errors():
            system.rm_file(f"{root}/{name}")

    def write(self, name: str, content: bytes | memoryview, *, last: bool = False) -> None:
        """Write an object; buckets do this atomically and durably."""
        system, root = self._filesystem
        try:
            with _network_errors():
                system.pipe_file(f"{root}/{name}", bytes(content))
        except OSError as error:
            raise InputError(
                f"{self.url}/{name} cannot be written ({error}); check the bucket's name, the "
                "credentials and the network."
            ) from None


def _check_size(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")


@contextmanager
def _network_errors() -> Iterator[None]:
    """Raise the errors of any bucket client as `OSError`; each client has its own classes."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` on success.

    A file that is synced in the block is durable before it gets its name. The temporary name is
    random: process ids are not unique on shared disks, and nobody can place a link there.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        with naming(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; an error names the file."""
    with naming(path):
        path.write_text(text, "utf-8")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to an `OSError` that names no file, such as the error of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and not error.filename:
            error.filename = str(path)
        raise


def copy_into(stream: BinaryIO, offset: int, source: Path) -> None:
    """Copy a whole file into another file at an offset; let the kernel do it if possible."""
    with source.open("rb") as content:
        left = os.fstat(content.fileno()).st_size
        try:
            while left and (
                done := os.copy_file_range(
                    content.fileno(), stream.fileno(), left, offset_dst=offset
                )
            ):
                offset, left = offset + done, left - done
        except (AttributeError, OSError):  # not Linux, or different disks
            pass
        if left:
            stream.seek(offset)
            shutil.copyfileobj(content, stream, COPY_BYTES)


def delete(path: Path) -> None:
    """Remove a file or a folder if it exists; if it is a link, remove only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(root: Path) -> None:
    """Sync every file and folder below `root` to the disk."""
    for path in (root, *root.rglob("*")):
        sync(path)


def sync(path: Path) -> None:
    """Sync one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
