"""Killed between the seal and the name: what is left is finished, or is no store."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.format.container import chunk_name
from featstore.writing import staging as staging_module
from featstore.writing.staging import exchange, finish, temporary
from featstore.writing.writer import StoreWriter
from tests.stores import features
from tests.writing import SIZES, Killed, bytes_of, made, units, write


def test_a_store_that_is_there_is_superseded(final, undisturbed) -> None:
    for title in ("first", "second"):
        writer = StoreWriter(final, made(title=title))
        write(writer, units())
        writer.seal()
    reader = featstore.open(final)
    assert len(reader[0]) == 30  # in use
    writer = StoreWriter(final, made())
    write(writer, units())
    assert featstore.open(final).title == "second"
    writer.seal()
    assert bytes_of(final) == undisturbed
    old = temporary(final, ".superseded")
    assert sorted(final.parent.iterdir()) == sorted([old, final])
    assert featstore.open(old).title == "second"
    np.testing.assert_array_equal(np.concatenate(list(reader)), features(SIZES))


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("again", ["finish", "another writer"])
def test_killed_between_seal_and_rename(
    final, undisturbed, monkeypatch, there: bool, again: str
) -> None:
    if there:
        writer = StoreWriter(final, made(title="old"))
        write(writer, units())
        writer.seal()
    writer = StoreWriter(final, made())
    write(writer, units())
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if target == final:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        patched.setattr(staging_module, "exchange", lambda *names: False)  # an old system
        with pytest.raises(Killed):
            writer.seal()
    assert not final.exists()
    assert temporary(final, ".superseded").exists() == there
    if again == "finish":
        finish(final)
        assert bytes_of(final) == undisturbed
        finish(final)  # does nothing where the store is there
        assert bytes_of(final) == undisturbed
        return
    # One that does not call `finish` first may begin anew; what it writes is the same.
    writer = StoreWriter(final, made())
    write(writer, writer.missing)
    writer.seal()
    assert bytes_of(final) == undisturbed
    left = {final.name, temporary(final, ".superseded").name} if there else {final.name}
    assert {path.name for path in final.parent.iterdir()} == left


def test_names_are_exchanged_at_once(tmp_path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    other.mkdir()
    assert exchange(one, other)
    assert (one.is_dir(), other.read_text()) == (True, "1")
    assert not exchange(one, tmp_path / "none")


def test_nothing_is_finished_that_is_not_sealed(final) -> None:
    finish(final)
    writer = StoreWriter(final, made())
    write(writer, units())
    finish(final)
    assert not final.exists()


@pytest.mark.parametrize("again", ["finish", "another writer"])
@pytest.mark.parametrize("which", [1, 2])
def test_killed_while_cleaning(final, undisturbed, monkeypatch, again: str, which: int) -> None:
    """A tree is removed up to a plan or a commit or a chunk that is left."""
    writer = StoreWriter(final, made())
    write(writer, units())
    remove, count = shutil.rmtree, 0

    def killed(path: Path, **options: bool) -> None:
        nonlocal count
        count += 1
        if count == which:
            for file in sorted(file for file in path.rglob("*") if file.is_file())[:4]:
                file.unlink()
            raise Killed
        remove(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        try:
            writer.seal()
        except Killed:
            assert not final.exists()
    finish(final)
    if again == "another writer" and final.suffix == ".zarr":
        # As a repair does, which finds the store there.
        final.rename(temporary(final, ".building"))
        writer = StoreWriter(final, made())
        write(writer, writer.missing)
        writer.seal()
    assert bytes_of(final) == undisturbed
    assert list(final.parent.iterdir()) == [final]


def test_a_sealed_store_that_is_half_discarded_is_not_finished(tmp_path, monkeypatch) -> None:
    final = tmp_path / "s.zarr"
    writer = StoreWriter(final, made())
    write(writer, units())
    writer.seal()
    final.rename(temporary(final, ".building"))

    def killed(path: Path, **_: bool) -> None:
        if path.suffix == ".building":
            (path / chunk_name(1)).unlink()
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            StoreWriter(final, made(untrained=True))
    finish(final)
    assert not final.exists()
