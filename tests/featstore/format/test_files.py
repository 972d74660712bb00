import os
import shutil
import zipfile
from pathlib import Path

import pytest

import featstore
from featstore.errors import InputError
from featstore.format.files import Archive, Bucket, Files, Folder, files_at, is_remote, replacing
from tests.stores import write_store

CONTENT = {"zarr.json": b"{}", "a/zarr.json": b"", "a/c/0": b"\0\1\2" * 1000}


@pytest.fixture(params=["folder", "zip", "bucket"])
def files(request, tmp_path: Path) -> Files:
    """The same files at every place, and nothing of what lies beside them."""
    if request.param == "bucket":
        url = f"{request.getfixturevalue('bucket')}/{tmp_path.name}/s.zarr"
        Bucket(f"{url}.other").write("beside", b"")
        place = files_at(url)
    elif request.param == "folder":
        (tmp_path / "s.zarr.other").mkdir()
        place = Folder(tmp_path / "s.zarr")
        place.make()
    else:
        with zipfile.ZipFile(tmp_path / "s.zip", "w") as opened:
            opened.mkdir("a")
            for name, content in CONTENT.items():
                opened.writestr(name, content)
        return files_at(tmp_path / "s.zip")
    for name, content in CONTENT.items():
        place.write(name, memoryview(content))
    return place


def test_the_place_decides_the_kind(tmp_path) -> None:
    assert isinstance(files_at(tmp_path / "s.zarr"), Folder)
    assert isinstance(files_at(tmp_path / "s.zarr.zip"), Archive)
    assert isinstance(files_at("s3://bucket/s.zarr"), Bucket)
    assert is_remote("s3://bucket/s.zarr")
    assert not is_remote("features/s.zarr")
    assert not is_remote(Path("s3://bucket/s.zarr"))


def test_names_are_those_below_the_place(files) -> None:
    assert sorted(files.names()) == sorted(CONTENT)


def test_what_was_written_is_read(files) -> None:
    for name, content in CONTENT.items():
        assert files.read(name) == content


def test_a_file_that_is_not_there_is_said(files) -> None:
    for name in ("b", "a", "a/c/0/0"):
        with pytest.raises(OSError, match=r"."):
            files.read(name)
    with pytest.raises(FileNotFoundError):
        files.read("a/b")


def test_files_are_replaced(files) -> None:
    if isinstance(files, Archive):
        with pytest.raises(InputError, match="read-only; pass a folder"):
            files.write("a/c/0", b"new")
        return
    files.write("a/c/0", b"new")
    assert files.read("a/c/0") == b"new"
    assert sorted(files.names()) == sorted(CONTENT)


def test_files_of_a_place_that_is_not_there(tmp_path, bucket) -> None:
    for place in (tmp_path / "none", f"{bucket}/none", "s3://no-bucket/none"):
        assert list(files_at(place).names()) == []
        with pytest.raises(FileNotFoundError):
            files_at(place).read("zarr.json")


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    folder = Folder(tmp_path)
    folder.write("a", b"old")

    def fail(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[:1])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="No space left"):
            folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert list(folder.names()) == ["a"]


def test_replacing_puts_a_file_in_place_only_if_all_goes_well(tmp_path) -> None:
    path = tmp_path / "a"
    with replacing(path) as temporary:
        temporary.write_bytes(b"1")
        assert not path.exists()
    assert path.read_bytes() == b"1"
    with pytest.raises(TypeError), replacing(path) as temporary:
        temporary.write_bytes("no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_zip_archive_is_said(tmp_path) -> None:
    (tmp_path / "s.zarr.zip").write_bytes(b"no archive" * 10)
    with pytest.raises(InputError, match=r"s\.zarr\.zip.*zip"):
        featstore.open(tmp_path / "s.zarr.zip")
    with pytest.raises(featstore.StoreNotFoundError, match="no store at"):
        featstore.open(tmp_path / "none.zarr.zip")


def test_an_archive_that_others_packed_is_read(tmp_path) -> None:
    path = write_store(tmp_path / "s.zarr")
    packed = tmp_path / "s.zarr.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as opened:
        for file in path.rglob("*"):
            opened.write(file, file.relative_to(path))
    store = featstore.open(packed)
    assert store[3].tolist() == featstore.open(path)[3].tolist()
    assert list(store.container.damages()) == []
    with zipfile.ZipFile(packed) as opened:
        info = opened.getinfo("features/c/0/0")
    content = bytearray(packed.read_bytes())
    middle = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    content[middle : middle + 4] = b"\xff" * 4
    packed.write_bytes(content)
    (damage,) = featstore.open(packed).container.damages()
    assert damage.chunk == 0
    with pytest.raises(featstore.CorruptStoreError, match="features/c/0/0"):
        featstore.open(packed)[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_store_that_may_not_be_read_is_said(tmp_path) -> None:
    path = write_store(tmp_path / "s.zarr")
    (path / "zarr.json").chmod(0)
    with pytest.raises(InputError, match=r"zarr\.json.*read \(Permission denied\)"):
        featstore.open(path)


def test_a_url_of_no_known_kind_is_said() -> None:
    with pytest.raises(InputError, match=r"nosuch://bucket/s\.zarr.*opened"):
        featstore.open("nosuch://bucket/s.zarr")


class Unreachable:
    """What fsspec gives for a bucket that does not answer."""

    def cat_file(self, name: str, end: int | None = None) -> bytes:
        raise RuntimeError("no route to host")


def test_a_bucket_that_does_not_answer_is_said(bucket, monkeypatch) -> None:
    import fsspec

    monkeypatch.setattr(fsspec, "url_to_fs", lambda url: (Unreachable(), "bucket/s.zarr"))
    said = r"s\.zarr/zarr\.json cannot be read \(RuntimeError: no route to host\); check the cred"
    with pytest.raises(InputError, match=said):
        featstore.open(f"{bucket}/s.zarr")


def test_secrets_that_do_not_fit_are_said(bucket, monkeypatch) -> None:
    monkeypatch.setattr(Bucket, "read", refuse)
    with pytest.raises(InputError, match=r"read \(Access Denied\.\)"):
        featstore.open(f"{bucket}/s.zarr")


def refuse(self: Bucket, name: str, most: int | None = None) -> bytes:
    raise PermissionError("Access Denied.")


def test_a_forked_process_opens_an_archive_for_itself(tmp_path, monkeypatch) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as opened:
        opened.writestr("a", b"1")
    archive = Archive(tmp_path / "s.zip")
    first = archive._zip
    assert archive._zip is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert archive._zip is not first
    assert archive.read("a") == b"1"


def test_temporary_names_differ_between_processes_of_one_number(tmp_path) -> None:
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        assert one != other
        one.write_bytes(b"1")
        other.write_bytes(b"2")


def test_a_folder_that_vanished_is_not_made_again(tmp_path) -> None:
    folder = Folder(tmp_path / "s")
    folder.make()
    folder.write("a/b/c", b"1")
    shutil.rmtree(folder.path)
    with pytest.raises(InputError, match="removed or renamed while"):
        folder.write("a/b/d", b"2")
    assert not folder.path.exists()
