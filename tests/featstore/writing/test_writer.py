"""Units are written in any order and more than one go; the bytes are the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore import InputError
from featstore.format.codecs import Codec
from featstore.format.container import chunk_name
from featstore.writing.staging import temporary
from featstore.writing.writer import StoreWriter
from tests.stores import features
from tests.writing import SIZES, Killed, made, seal, units, write


def test_units_may_come_in_any_order(final, undisturbed) -> None:
    writer = StoreWriter(final, made())
    assert writer.missing == list(units())
    write(writer, reversed(units()))
    assert writer.missing == []
    assert seal(writer, final) == undisturbed
    np.testing.assert_array_equal(np.concatenate(list(featstore.open(final))), features(SIZES))


def test_a_second_writer_goes_on(final, undisturbed) -> None:
    write(StoreWriter(final, made()), [0, 3])
    writer = StoreWriter(final, made())
    assert sorted(writer.done) == [0, 3]
    assert writer.missing == [1, 2, 4, 5, 6, 7]
    write(writer, [5])
    third = StoreWriter(final, made())
    assert sorted(third.done) == [0, 3, 5]
    write(third, third.missing)
    assert seal(third, final) == undisturbed


@pytest.mark.parametrize(
    "damage", ["flipped", "truncated", "missing", "no commit", "half a commit"]
)
def test_a_damaged_unit_is_written_again(final, undisturbed, damage: str) -> None:
    write(StoreWriter(final, made()), [0, 1, 2])
    chunk = temporary(final, ".building") / chunk_name(1)
    commit = temporary(final, ".units") / "1.json"
    content = bytearray(chunk.read_bytes())
    if damage == "flipped":
        content[50] ^= 1
        chunk.write_bytes(content)
    elif damage == "truncated":
        chunk.write_bytes(content[:-1])
    elif damage == "missing":
        chunk.unlink()
    elif damage == "no commit":
        commit.unlink()
    else:
        commit.write_text(commit.read_text()[:20])
    writer = StoreWriter(final, made())
    assert sorted(writer.done) == [0, 2]
    write(writer, writer.missing)
    assert seal(writer, final) == undisturbed


@pytest.mark.parametrize(
    "other",
    [
        {"key": "cd" * 32},
        {"untrained": True},
        {"chunk_rows": 30},
        {"codec": Codec("float16")},
        {"codec": Codec(compression="zstd")},
    ],
    ids=lambda other: next(iter(other)),
)
def test_staging_of_other_contents_are_removed(final, undisturbed, other) -> None:
    before = StoreWriter(final, made(**other))
    first, last = before._units[0]
    before.write(0, features(SIZES)[first:last])
    writer = StoreWriter(final, made())
    assert writer.done == {}
    write(writer, units())
    assert seal(writer, final) == undisturbed


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:100],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: '{"attributes": []}',
        lambda text: '{"attributes": {"numerics": [], "mixed_numerics": 3}}',
        lambda text: "[" * 100_000,
    ],
)
def test_an_unreadable_plan_is_none(final, undisturbed, change) -> None:
    write(StoreWriter(final, made()), [0])
    plan = temporary(final, ".units") / "plan.json"
    plan.write_text(change(plan.read_text()))
    writer = StoreWriter(final, made())
    assert writer.done == {}
    write(writer, units())
    assert seal(writer, final) == undisturbed


def test_what_a_killed_writer_left_half_written_is_removed(final, undisturbed) -> None:
    write(StoreWriter(final, made()), [0])
    building = temporary(final, ".building")
    (building / "features/c/0/.0.123.tmp").write_bytes(b"half")
    (building / ".zarr.json.123.tmp").write_bytes(b"half")
    writer = StoreWriter(final, made())
    write(writer, writer.missing)
    assert seal(writer, final) == undisturbed


@pytest.mark.parametrize("kind", ["chunk", "commit"])
def test_killed_in_the_middle_of_a_unit(final, undisturbed, monkeypatch, kind: str) -> None:
    from featstore.format.files import Folder

    writer = StoreWriter(final, made())
    write(writer, [0])
    whole = Folder.write

    def killed(self: Folder, name: str, content: bytes) -> None:
        if name.endswith(".json") == (kind == "commit"):
            raise Killed
        whole(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", killed)
        with pytest.raises(Killed):
            write(writer, [1])
    writer = StoreWriter(final, made())
    assert sorted(writer.done) == [0]
    write(writer, writer.missing)
    assert seal(writer, final) == undisturbed


def test_another_title_goes_on(final) -> None:
    write(StoreWriter(final, made(title="first")), [0])
    writer = StoreWriter(final, made(title="renamed"))
    assert list(writer.done) == [0]
    write(writer, writer.missing)
    writer.seal()
    assert featstore.open(final).title == "renamed"


def test_seal_needs_every_unit(final) -> None:
    writer = StoreWriter(final, made())
    write(writer, [0, 1])
    with pytest.raises(ValueError, match="6 units are not written"):
        writer.seal()
    assert not final.exists()


def test_units_have_a_shape(final) -> None:
    writer = StoreWriter(final, made())
    with pytest.raises(ValueError, match=r"7 has 10 rows; .*\(20, 4\)"):
        writer.write(7, features(SIZES)[:20])
    assert writer.done == {}


def test_discard_leaves_nothing(final) -> None:
    writer = StoreWriter(final, made())
    write(writer, [0, 1])
    writer.discard()
    assert list(final.parent.iterdir()) == []


def test_the_plan_says_what_the_store_is_to_be(final) -> None:
    StoreWriter(final, made())
    plan = json.loads((temporary(final, ".units") / "plan.json").read_text())
    assert plan["chunk"] == [20, 4]
    assert plan["attributes"]["key"] == "ab" * 32


def spoil(final: Path, how: str) -> None:
    """Do to a store that is being written what another process might."""
    building = temporary(final, ".building")
    chunk = building / chunk_name(2)
    if how == "folder removed":
        shutil.rmtree(building)
    elif how == "folder moved":
        building.rename(final.parents[1] / "moved")
    elif how == "folder replaced":
        shutil.copytree(building, building.with_name("copy"))
        (building.with_name("copy") / chunk_name(2)).unlink()
        shutil.rmtree(building)
        building.with_name("copy").rename(building)
    elif how == "chunk removed":
        chunk.unlink()
    else:
        chunk.write_bytes(bytes(chunk.stat().st_size))


def finish(writer: StoreWriter) -> None:
    write(writer, writer.missing)
    writer.seal()


@pytest.mark.parametrize("when", ["before the last unit", "before the seal"])
@pytest.mark.parametrize(
    "how",
    ["folder removed", "folder moved", "folder replaced", "chunk removed", "chunk changed"],
)
def test_what_vanished_or_changed_is_never_sealed(final, undisturbed, how: str, when: str) -> None:
    writer = StoreWriter(final, made())
    write(writer, list(units())[:-1])
    if when == "before the seal":
        write(writer, list(units())[-1:])
    spoil(final, how)
    with pytest.raises(InputError, match="same command again"):
        finish(writer)
    assert not final.exists()
    again = StoreWriter(final, made())
    assert 2 in again.missing
    write(again, again.missing)
    assert seal(again, final) == undisturbed


def test_a_unit_that_is_gone_is_not_counted(final) -> None:
    writer = StoreWriter(final, made())
    write(writer, [0, 1, 2])
    spoil(final, "chunk removed")
    assert writer.forget_lost() == [2]
    assert sorted(writer.done) == [0, 1]


@pytest.mark.parametrize("kind", [".building", ".units"])
def test_a_writer_follows_no_link(final, kind: str, tmp_path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    (others / "plan.json").write_text("mine")
    temporary(final, kind).symlink_to(others)
    with pytest.raises(InputError, match="is a link"):
        StoreWriter(final, made())
    assert (others / "plan.json").read_text() == "mine"
    assert len(list(others.iterdir())) == 1


def test_packing_follows_no_link(tmp_path, undisturbed, final) -> None:
    if final.suffix != ".h5":
        pytest.skip("of HDF5")
    other = tmp_path / "thesis.txt"
    other.write_text("mine")
    writer = StoreWriter(final, made())
    write(writer, units())
    temporary(final, ".packing").symlink_to(other)
    assert seal(writer, final) == undisturbed
    assert other.read_text() == "mine"


def test_a_path_may_be_a_text(final, undisturbed) -> None:
    writer = StoreWriter(str(final), made())
    write(writer, units())
    assert seal(writer, final) == undisturbed


def test_a_dangling_link_is_superseded(final, undisturbed) -> None:
    writer = StoreWriter(final, made())
    write(writer, units())
    final.symlink_to("nowhere")
    writer.seal()
    assert not final.is_symlink()
    assert featstore.open(final).key == made().attributes["key"]
