import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
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
        with closing(Cache(tmp_path / "cache.sqlite")) as cache:
            cache.keep_hash(path, signature(path), content_hash(path))
            assert cache.known_hashes([path]) == {path: content_hash(path)}
            change(path, b"two")
            assert cache.known_hashes([path]) == {}

    def test_of_an_image(self, tmp_path: Path, change) -> None:
        folder = write_images(tmp_path / "images", textured(3))
        with closing(Cache(tmp_path / "cache.sqlite")) as cache:
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
    hashes, indexes = cache.known_hashes([video]), cache.indexes(["abc"])
    statistics = cache.statistics("key")
    cache.close()
    return len(hashes), len(indexes), bool(statistics)


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
        Cache(path).indexes(["abc"])


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


@pytest.mark.parametrize("table", ["file", "video", "statistics"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_row_with_a_flipped_bit_is_learnt_anew(tmp_path: Path, table: str, place: int) -> None:
    path, video = tmp_path / "cache.sqlite", write_video(tmp_path / "a.mkv", textured(2))
    filled(path, video)
    column = module.TABLES[table][place]
    with sqlite3.connect(path) as database:
        (value,) = database.execute(f"SELECT {column} FROM {table}").fetchone()  # noqa: S608
        packed = isinstance(value, bytes)
        damaged = flipped(value if packed else value.encode(), 9)
        row = [damaged if packed else damaged.decode()]
        database.execute(f"UPDATE {table} SET {column} = ?", row)  # noqa: S608
    database.close()
    number = {"file": 0, "video": 1, "statistics": 2}[table]
    assert not learnt(path, video)[number]
    filled(path, video)
    assert learnt(path, video) == (1, 1, True)


def test_flipped_bits_are_noticed_wherever_they_are(tmp_path: Path) -> None:
    path, video = tmp_path / "cache.sqlite", write_video(tmp_path / "a.mkv", textured(2))
    filled(path, video)
    whole, index = path.read_bytes(), read_index(video)
    packed = index.pack()
    rng = np.random.default_rng(0)
    used = np.flatnonzero(np.frombuffer(whole, np.uint8))  # most of the file is empty pages
    noticed = 0
    for byte in rng.choice(used, 200).tolist():
        path.write_bytes(flipped(whole, 8 * byte + int(rng.integers(8))))
        cache = Cache(path)
        try:
            assert cache.known_hashes([video]) in ({}, {video: "abc"})
            assert cache.indexes(["abc"]) in ({}, {"abc": packed})
            assert cache.statistics("key") in (None, {"mean": [0.5]})
            cache.keep_index("abc", index)
            assert cache.indexes(["abc"]) in ({}, {"abc": packed})
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017 - any of two outcomes is right
            noticed += 1
        finally:
            cache.close()
    assert 0 < noticed < 200
