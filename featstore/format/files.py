"""The places where a store's files can lie: a folder, a zip archive, or a bucket.

Three small classes with one interface, and nothing that knows what the files mean. Reading and
writing move whole files; a write is whole or not there.
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
TEMPORARY = r"\.[0-9a-f]+\.tmp"  # what `replacing` puts behind a name, as a regular expression


class Files(Protocol):
    """Files by name, with forward slashes.

    Attributes
    ----------
    place : str
        What `files_at` takes, in any folder and process.
    """

    @property
    def place(self) -> str: ...  # noqa: D102

    def names(self) -> Iterator[str]:
        """Yield the names of all files, in no order."""

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes; `FileNotFoundError` if there is none of this name.

        `OSError` if there are more than `most`, and then they are not read.
        """

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file, whole or not at all."""


def is_remote(place: object) -> bool:
    """Tell whether a place is a URL such as ``s3://bucket/name``, and not a local path."""
    return isinstance(place, str) and "://" in place


def files_at(place: Path | str) -> Files:
    """Return the files of a folder, of a zip archive, or below a URL.

    Parameters
    ----------
    place : Path or str
        A URL is opened with fsspec, which takes credentials and endpoints from its usual places.
    """
    if is_remote(place):
        return Bucket(str(place))
    path = Path(place)
    return Archive(path) if path.suffix == ZIP_SUFFIX else Folder(path)


class Folder:
    """Files below a folder of the local disk; `make` makes it, and `write` only what is below."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.path.absolute())

    def make(self) -> None:
        """Make the folder, if it is not there."""
        self.path.mkdir(parents=True, exist_ok=True)

    def names(self) -> Iterator[str]:
        """Yield the names of all files below the folder."""
        for folder, _, files in os.walk(self.path):
            below = Path(folder).relative_to(self.path)
            yield from ((below / name).as_posix() for name in files)

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes."""
        with (self.path / name).open("rb") as stream:
            _check_size(os.fstat(stream.fileno()).st_size, most)
            return stream.read()

    def write(self, name: str, content: bytes | memoryview, *, last: bool = False) -> None:
        """Write a file under a temporary name and rename it; `sync_tree` or `last` make it last.

        Raises
        ------
        InputError
            If the folder is not there: it was removed or renamed since it was made.
        """
        path = self.path / name
        missing = [*path.relative_to(self.path).parents][:-1]
        with suppress(FileNotFoundError):
            for folder in reversed(missing):
                (self.path / folder).mkdir(exist_ok=True)
        if not self.path.is_dir():
            raise InputError(
                f"{self.path} is no longer there: it was removed or renamed while it was written; "
                "run the same command again."
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
    """Files in a zip archive; read only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    @property
    def _zip(self) -> zipfile.ZipFile:
        # A forked process would share its place in the file with its parent.
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self._path)
            except zipfile.BadZipFile as error:
                raise InputError(
                    f"{self._path} cannot be read as a zip archive ({error}); copy it again."
                ) from None
        return self._opened[1]

    @property
    def place(self) -> str:
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
        # The archive's own checksum; others may have packed the archive again, compressed.
        except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, ValueError) as error:
            raise OSError(str(error)) from None

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Refuse: an archive that is changed in place can be torn."""
        raise InputError(f"{self._path} is a zip archive, which is read only; give a folder.")


class Bucket:
    """Objects below a URL, through fsspec."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._opened: tuple[int, Any, str] | None = None

    @property
    def _place(self) -> tuple[Any, str]:
        # A forked process has none of the threads through which its parent talks to the network.
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
    def place(self) -> str:
        """The URL."""
        return self.url

    def names(self) -> Iterator[str]:
        """Yield the names of all objects below the URL."""
        system, root = self._place
        system.invalidate_cache()  # others may have written since it was listed
        try:
            with _network_errors():
                found = system.find(root)
        except FileNotFoundError:  # no bucket, as no folder
            found = []
        return (name.removeprefix(f"{root}/") for name in found)

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return an object's bytes."""
        system, root = self._place
        with _network_errors():
            end = None if most is None else most + 1
            content = bytes(system.cat_file(f"{root}/{name}", end=end))
        _check_size(len(content), most)
        return content

    def remove(self, name: str) -> None:
        """Remove an object."""
        system, root = self._place
        with _network_errors():
            system.rm_file(f"{root}/{name}")

    def write(self, name: str, content: bytes | memoryview, *, last: bool = False) -> None:
        """Write an object, which a bucket does whole or not at all, and which lasts."""
        system, root = self._place
        try:
            with _network_errors():
                system.pipe_file(f"{root}/{name}", bytes(content))
        except OSError as error:
            raise InputError(
                f"{self.url}/{name} cannot be written ({error}); look at the bucket's name, the "
                "credentials and the network."
            ) from None


def _check_size(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")


@contextmanager
def _network_errors() -> Iterator[None]:
    """Make an `OSError` of whatever a client of a bucket raises, which each names otherwise."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` that takes its place if the block ends well.

    What was written lasts before it has the name, if it was synced in the block. The temporary name
    is random: processes of two machines that share a disk may have the same number, and nobody can
    put a link where it will be.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and not error.filename:  # as of a disk that is full
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def copy_into(stream: BinaryIO, offset: int, source: Path) -> None:
    """Copy a whole file into another one at an offset, inside the system where it can."""
    with source.open("rb") as content:
        left = os.fstat(content.fileno()).st_size
        try:
            while left and (
                done := os.copy_file_range(
                    content.fileno(), stream.fileno(), left, offset_dst=offset
                )
            ):
                offset, left = offset + done, left - done
        except (AttributeError, OSError):  # another system, or two disks
            pass
        if left:
            stream.seek(offset)
            shutil.copyfileobj(content, stream, COPY_BYTES)


def delete(path: Path) -> None:
    """Remove a file or a folder, if it is there; of a link, the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
