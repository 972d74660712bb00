"""Find the videos of a store again, by their content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from functools import cache as memoised
from pathlib import Path

from pipeline.types import Log
from pipeline.video.cache import CACHE_FILE, Cache, content_hash
from pipeline.video.videos import Video, read_videos

GONE = "its video has moved or changed since the build"


def video_finder(
    places: Sequence[Path], *, folder: Path | None, image_rate: Fraction | None, log: Log
) -> Callable[[str, str], Video | str]:
    """Return what finds a video by its name and content, each video once.

    Parameters
    ----------
    places : sequence of Path
        Folders of stores, whose caches know the paths of videos.
    folder : Path or None
        Where the videos are, by the names that annotations use, if they have moved.
    image_rate : Fraction or None
        Rate of folders of numbered images.
    log : callable

    Returns
    -------
    callable
        Takes the name and the content as a store has them, and returns the video, or the reason
        why there is none.
    """
    caches = [path for place in dict.fromkeys(places) if (path := place / CACHE_FILE).is_file()]
    if folder is not None and not caches:
        caches = [places[0] / CACHE_FILE]

    @memoised
    def find(name: str, content: str) -> Video | str:
        for path in caches:
            with closing(Cache(path)) as cache:
                for candidate in _candidates(name, content.partition("#")[0], cache, folder):
                    (video,) = read_videos(
                        {name: candidate},
                        cache,
                        image_rate=image_rate,
                        workers=1,
                        keep_unreadable=True,
                        log=log,
                    )
                    if video.unreadable:
                        return f"its video cannot be read: {video.unreadable}"
                    if video.content == content:
                        return video
        return GONE

    return find


def _candidates(name: str, sha256: str, cache: Cache, folder: Path | None) -> Iterator[Path]:
    """Yield the paths where a video with this content lies."""
    if folder is not None:
        path = folder / name
        if path.exists() and (cache.known_hashes([path]).get(path) or content_hash(path)) == sha256:
            yield path
    yield from cache.files_of(sha256)
