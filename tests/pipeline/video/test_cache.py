import os
import sqlite3
from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.video import cache as module
from pipeline.video.cache import Cache, content_hash, signature
from pipeline.video.index import read_index
from tests.videos import encoded_image, textured, write_images, write_video


def replaced(path: Path, content: bytes) -> None:
    """Put another file of the same size and time in a file's place."""
    before = path.stat()
    assert len(content) == before.st_size
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def rewritten(path: Path, content: bytes) -> None:
    """Write into a file, and set its time back."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [replaced, rewritten])
class TestChanges:
    def test_of_a_file(self, tmp_path: Path, change) -> None:
        path = tmp_path / "a.pth"
        path.write_bytes(b"one")
        cache = Cache(tmp_path / "cache.sqlite")
        cache.keep_hash(path, signature(path), content_hash(path))
        assert cache.known_hashes([path]) == {path: content_hash(path)}
        change(path, b"two")
        assert cache.known_hashes([path]) == {}

    def test_of_an_image(self, tmp_path: Path, change) -> None:
        folder = write_images(tmp_path / "images", textured(3))
        cache = Cache(tmp_path / "cache.sqlite")
        cache.keep_hash(folder, signature(folder), content_hash(folder))
        assert cache.known_hashes([folder]) == {folder: content_hash(folder)}
        image = folder / "frame_0002.png"
        change(image, bytes(image.stat().st_size))
        assert cache.known_hashes([folder]) == {}


def test_what_is_beside_the_images_does_not_matter(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", textured(3))
    before = signature(folder)
    (folder / "notes.txt").touch()
    assert signature(folder) == before
    (folder / "frame_0004.png").write_bytes(encoded_image(textured(1)[0]))
    assert signature(folder) != before


def filled(path: Path, video: Path) -> None:
    cache = Cache(path)
    cache.keep_hash(video, signature(video), "abc")
    cache.keep_index("abc", read_index(video))
    cache.keep_statistics("key", {"mean": [0.5]})
    cache.close()


def learnt(path: Path, video: Path) -> tuple[int, int, bool]:
    cache = Cache(path)
    found = len(cache.known_hashes([video])), len(cache.indexes()), bool(cache.statistics("key"))
    cache.close()
    return found


def test_another_version_is_learnt_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, video = tmp_path / "cache.sqlite", write_video(tmp_path / "a.mkv", textured(2))
    filled(path, video)
    assert learnt(path, video) == (1, 1, True)
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert learnt(path, video) == (0, 0, False)
    filled(path, video)
    assert learnt(path, video) == (1, 1, True)


def test_tables_of_before_there_were_versions(tmp_path: Path) -> None:
    path, video = tmp_path / "cache.sqlite", write_video(tmp_path / "a.mkv", textured(2))
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE file (path TEXT PRIMARY KEY, size INT, mtime INT, sha256)")
        database.execute("CREATE TABLE video (sha256 TEXT PRIMARY KEY, packed BLOB)")
        database.execute("INSERT INTO video VALUES ('abc', 'old')")
    database.close()
    assert learnt(path, video) == (0, 0, False)
    filled(path, video)
    assert learnt(path, video) == (1, 1, True)


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"cannot be used .*; delete it"):
        Cache(path).indexes()
