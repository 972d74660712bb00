"""Writing a store: killed anywhere and started again, the bytes are those of an undisturbed one."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.codecs import Codec
from featstore.container import chunk_name
from featstore.errors import InputError
from featstore.unfinished import exchange, finish, temporary
from featstore.writer import StoreWriter
from tests.stores import contents, features

SIZES = [30, 40, 7, 60, 13]
OLD = {"torch": "2.6.0", "device": "cpu", "batch": 16}
NEW = {"torch": "2.7.0", "device": "cpu", "batch": 16}


class Killed(BaseException):
    """Stands for the end of the process: nothing that handles errors sees it."""


def made(chunk_rows: int = 20, **options):
    return contents(SIZES, chunk_rows=chunk_rows, **options)


def write(writer: StoreWriter, units, rows: np.ndarray | None = None) -> None:
    rows = features(SIZES) if rows is None else rows
    for unit in units:
        first, last = made().layout.units()[unit]
        writer.write(unit, rows[first:last])


def units() -> range:
    return range(len(made().layout.units()))


def bytes_of(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


@pytest.fixture(params=[".zarr", ".h5"])
def final(request, tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    return tmp_path / "new" / f"s{request.param}"


@pytest.fixture
def undisturbed(final: Path) -> dict[str, bytes]:
    """The bytes of a store that was written from beginning to end."""
    path = final.parents[1] / final.name
    writer = StoreWriter(path, made())
    write(writer, units())
    writer.seal()
    return bytes_of(path)


def seal(writer: StoreWriter, final: Path) -> dict[str, bytes]:
    """Seal, and return the bytes of the store, which is all that is left."""
    writer.seal()
    assert list(final.parent.iterdir()) == [final]
    assert list(featstore.open(final, check=True).container.damages()) == []
    return bytes_of(final)


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
def test_beginnings_of_other_contents_are_removed(final, undisturbed, other) -> None:
    before = StoreWriter(final, made(**other))
    first, last = before._units[0]
    before.write(0, features(SIZES)[first:last])
    writer = StoreWriter(final, made())
    assert writer.done == {}
    write(writer, units())
    assert seal(writer, final) == undisturbed


def test_an_unreadable_plan_is_none(final, undisturbed) -> None:
    write(StoreWriter(final, made()), [0])
    plan = temporary(final, ".units") / "plan.json"
    plan.write_text(plan.read_text()[:100])
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
    from featstore.files import Folder

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


def test_other_numerics_are_refused_by_name(final) -> None:
    write(StoreWriter(final, made(numerics=OLD)), [0])
    with pytest.raises(InputError, match=r"torch.*2\.6\.0.*2\.7\.0.*--allow-mixed-numerics"):
        StoreWriter(final, made(numerics=NEW))
    # Nothing was changed by the refusal.
    assert sorted(StoreWriter(final, made(numerics=OLD)).done) == [0]


def test_other_numerics_go_on_where_it_is_allowed(final) -> None:
    write(StoreWriter(final, made(numerics=OLD)), [0])
    writer = StoreWriter(final, made(numerics=NEW), mixed_numerics=True)
    assert sorted(writer.done) == [0]
    write(writer, writer.missing)
    writer.seal()
    store = featstore.open(final)
    assert store.attributes["numerics"] == OLD
    (changed,) = store.attributes["mixed_numerics"]
    assert "torch" in changed
    np.testing.assert_array_equal(np.concatenate(list(store)), features(SIZES))


def test_a_mixture_is_not_forgotten(final) -> None:
    write(StoreWriter(final, made(numerics=OLD)), [0])
    write(StoreWriter(final, made(numerics=NEW), mixed_numerics=True), [1])
    writer = StoreWriter(final, made(numerics=OLD))
    assert sorted(writer.done) == [0, 1]
    write(writer, writer.missing)
    writer.seal()
    (changed,) = featstore.open(final).attributes["mixed_numerics"]
    assert "torch" in changed


def test_the_same_numerics_are_no_mixture(final) -> None:
    write(StoreWriter(final, made(numerics=OLD)), [0])
    writer = StoreWriter(final, made(numerics=OLD), mixed_numerics=True)
    write(writer, writer.missing)
    writer.seal()
    assert "mixed_numerics" not in featstore.open(final).attributes


def test_the_error_of_float16_is_that_of_numpy(final) -> None:
    rows = features(SIZES) * np.float32(37)
    rows[5] = np.nan  # a clip that failed
    codec = Codec("float16")
    writer = StoreWriter(final, made(codec=codec))
    write(writer, [3, 0, 1], rows)
    writer = StoreWriter(final, made(codec=codec))  # what was known of units is kept
    write(writer, writer.missing, rows)
    whole = np.delete(rows, 5, axis=0).astype(np.float64)
    error = whole.astype(np.float32).astype(np.float16).astype(np.float64) - whole
    found = writer.float16_error()
    assert found is not None
    relative = np.sqrt((error**2).sum() / (whole**2).sum())
    assert found["relative_rms"] == pytest.approx(relative, rel=1e-12)
    assert found["largest_absolute"] == np.abs(error).max()
    assert 1e-5 < relative < 2**-11
    writer.seal()
    stored = np.concatenate(list(featstore.open(final)))
    assert stored.tobytes() == rows.astype(np.float16).tobytes()


def test_float32_has_no_such_error(final) -> None:
    writer = StoreWriter(final, made())
    write(writer, units())
    assert writer.float16_error() is None


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("value", [65520.0, -1e5, 3e38])
def test_a_value_beyond_float16_is_refused(final, value: float, failed: bool) -> None:
    rows = features(SIZES)
    rows[2, 1] = value
    if failed:  # the rows of a failed clip in the same unit hide nothing
        rows[10] = np.nan
    writer = StoreWriter(final, made(codec=Codec("float16")))
    said = rf"is {re.escape(f'{abs(value):g}')}, and float16 .* 65504; store float32"
    with pytest.raises(InputError, match=said):
        write(writer, [0], rows)
    assert 0 in writer.missing
    rows[2, 1] = 65504
    write(writer, [0], rows)
    assert writer.missing == list(units())[1:]


def test_infinite_features_stay_infinite(final) -> None:
    rows = features(SIZES)
    rows[2, 1] = np.inf
    writer = StoreWriter(final, made(codec=Codec("float16")))
    write(writer, units(), rows)
    writer.seal()
    assert np.isinf(featstore.open(final)[0][2, 1])


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
        patched.setattr("featstore.unfinished.exchange", lambda *names: False)  # an old system
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


def test_another_title_goes_on(final) -> None:
    write(StoreWriter(final, made(title="first")), [0])
    writer = StoreWriter(final, made(title="renamed"))
    assert list(writer.done) == [0]
    write(writer, writer.missing)
    writer.seal()
    assert featstore.open(final).title == "renamed"


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


def test_seal_needs_every_unit(final) -> None:
    writer = StoreWriter(final, made())
    write(writer, [0, 1])
    with pytest.raises(ValueError, match="6 units are not written"):
        writer.seal()
    assert not final.exists()


def test_units_have_a_shape(final) -> None:
    writer = StoreWriter(final, made())
    with pytest.raises(ValueError, match=r"unit 7 has 10 rows, and \(20, 4\) were given"):
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
