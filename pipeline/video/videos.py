"""Find, hash and index the videos of a data set, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore.errors import InputError
from featstore.text import listed
from pipeline.sources.names import on_disk
from pipeline.system.progress import Progress
from pipeline.types import Log
from pipeline.video.cache import Cache, content_hash, signature
from pipeline.video.crashes import crashes
from pipeline.video.images import index_images
from pipeline.video.index import VideoIndex, empty_index, read_index
from pipeline.video.journal import at_work
from pipeline.video.limits import MAX_PIXELS, check_size

if TYPE_CHECKING:
    from pipeline.system.dask_cluster import Cluster


@dataclass(frozen=True, slots=True)
class Video:
    """A video that clips refer to.

    Attributes
    ----------
    name : str
        As annotated: a relative path with forward slashes.
    path : Path
    sha256 : str
        Of its content, hexadecimal.
    index : VideoIndex
    unreadable : str
        Why it cannot be read as a video; empty if it can.
    """

    name: str
    path: Path
    sha256: str
    index: VideoIndex
    unreadable: str = ""

    @property
    def content(self) -> str:
        """The identity of the pictures: the hash, and the video stream if it is not the first."""
        return f"{self.sha256}#{self.index.stream}" if self.index.stream else self.sha256

    def anywhere(self) -> Video:
        """Return the same video with an absolute path."""
        return replace(self, path=self.path.absolute())


def read_videos(
    named: dict[str, Path],
    cache: Cache,
    *,
    image_rate: Fraction | None,
    max_pixels: int = MAX_PIXELS,
    workers: int,
    keep_unreadable: bool = False,
    log: Log,
    cluster: Cluster | None = None,
) -> list[Video]:
    """Hash and index videos; read only those that are not in the cache.

    Parameters
    ----------
    named : dict of str to Path
        Name to path.
    cache : Cache
    image_rate : Fraction or None
        Rate of folders of numbered images.
    max_pixels : int
        Most pixels in a picture.
    workers : int
        Number of files to read at once.
    keep_unreadable : bool
        Return unreadable videos, marked as such, instead of raising.
    log : callable
    cluster : Cluster, optional
        Its workers read the files; by default, this process does.

    Returns
    -------
    list of Video
        Sorted by name.

    Raises
    ------
    InputError
        If videos are missing, one cannot be read, or two names differ only in Unicode form.
    """
    named = {name: on_disk(path, name) for name, path in named.items()}
    missing = [path for path in named.values() if not path.exists()]
    if missing:
        raise InputError(_missing(missing, len(named)))
    paths = list(named.values())
    hashes = cache.known_hashes(paths)
    packed = cache.indexes(hashes.values())
    unread = [path for path in paths if hashes.get(path) not in packed and not path.is_dir()]
    unread += [path for path in paths if path.is_dir() and path not in hashes]
    crashed = crashes(cache.journals)
    failed = {
        path: _lost(path, crashed[absolute])
        for path in paths
        if (absolute := path.absolute()) in crashed
    }
    unread = [path for path in unread if path not in failed]
    hashes |= {path: content_hash(path) for path in failed}
    indexes = _read_new(unread, hashes, cache, workers, log, cluster) if unread else {}
    indexes |= failed
    videos = []
    for name, path in sorted(named.items()):
        try:
            if path.is_dir():
                index = index_images(path, image_rate, max_pixels)
            else:
                index = _index_of(path, indexes, packed, hashes)
                check_size(path, index.width, index.height, max_pixels)
            videos.append(Video(name, path, hashes[path], index))
        except InputError as error:
            if not keep_unreadable:
                raise
            reason = str(error).partition(";")[0].replace(str(path), "the video")
            videos.append(Video(name, path, hashes[path], empty_index(), reason))
    return videos


def _lost(path: Path, reason: str) -> InputError:
    return InputError(f"{path} cannot be read: {reason}; replace it or remove its clips.")


def _index_of(
    path: Path,
    new: dict[Path, VideoIndex | InputError],
    packed: dict[str, bytes],
    hashes: dict[Path, str],
) -> VideoIndex:
    index = new[path] if path in new else VideoIndex.unpack(packed[hashes[path]])
    if isinstance(index, InputError):
        raise index
    return index


def check_unchanged(videos: Sequence[Video], cache: Cache) -> None:
    """Refuse videos that changed since they were hashed; call it before storing results.

    Raises
    ------
    InputError
    """
    hashes = cache.known_hashes([video.path for video in videos])
    for video in videos:
        if hashes.get(video.path) != video.sha256:
            raise InputError(
                f"{video.path} was changed while it was read; run the same command again."
            )


def read_file(path: Path) -> tuple[str, VideoIndex | InputError | None]:
    """Return the hash and the index, or an error; a folder of images has no index."""
    sha256 = content_hash(path)
    try:
        with at_work(path):
            return sha256, None if path.is_dir() else read_index(path)
    except InputError as error:
        return sha256, error
    except MemoryError:
        return sha256, _lost(path, "reading it takes more memory than there is")


def _read_new(
    paths: Sequence[Path],
    hashes: dict[Path, str],
    cache: Cache,
    workers: int,
    log: Log,
    cluster: Cluster | None,
) -> dict[Path, VideoIndex | InputError]:
    """Hash and index files, or return why not; fill `hashes` and the cache."""
    # Take signatures first: a file that changes meanwhile is read again next time.
    seen = [signature(path) for path in paths]
    indexes: dict[Path, VideoIndex | InputError] = {}
    with (
        ThreadPoolExecutor(max(1, workers)) as pool,
        Progress("videos read", len(paths), "videos", log) as progress,
    ):
        results: Iterator[tuple[int, Any]]
        if cluster is None:
            results = enumerate(pool.map(read_file, paths))
        else:
            results = cluster.map(f"{__name__}:read_file", [path.absolute() for path in paths])
        for number, (sha256, index) in results:
            path = paths[number]
            if isinstance(index, InputError):  # a worker got the absolute path
                index = InputError(str(index).replace(str(path.absolute()), str(path)))
            hashes[path] = sha256
            cache.keep_hash(path, seen[number], sha256)
            if isinstance(index, VideoIndex):
                cache.keep_index(sha256, index)
            if index is not None:
                indexes[path] = index
            progress.advance(1)
    return indexes


def _missing(paths: Sequence[Path], total: int) -> str:
    shown = listed([str(path) for path in paths], most=3)
    return (
        f"{len(paths)} of {total} annotated videos are missing: {shown}; put them there, point "
        "--data to where they are, or remove their clips."
    )
