import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from featstore import BusyError, InputError, StoreNotFoundError
from featstore.manage import leftovers as leftovers_module
from featstore.manage.catalogue import find, remember_last
from featstore.manage.leftovers import BUSY, ONLY_COPY, WHOLE, key_of, leftovers, size_of, sweep
from featstore.manage.removal import check_free, find_removable, remove_store
from featstore.writing.locks import writer_lock
from tests.stores import contents, write_store

KEY, OTHER = "ab" * 32, "cd" * 32
NAME = "one-abababababab.zarr"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def make(path: Path, size: int = 10) -> Path:
    """Make a folder that holds `size` bytes, two levels deep."""
    (path / "features").mkdir(parents=True)
    (path / "features/0").write_bytes(b"x" * (size - 1))
    (path / "root").write_bytes(b"x")
    return path


def make_file(path: Path, size: int = 10) -> Path:
    path.write_bytes(b"x" * size)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two stores, what a folder of stores has beside them, and nothing left over."""
    root = tmp_path / "features"
    write_store(root / NAME, contents(key=KEY))
    write_store(root / "two-cdcdcdcdcdcd.zarr", contents(key=OTHER))
    for name in (".cache.sqlite", ".last", ".runs.jsonl", ".abababababab.lock", "notes.txt"):
        make_file(root / name)
    for stem in ("one-abababababab", "two-cdcdcdcdcdcd"):
        make_file(root / f"{stem}.build.json")
    # Like leftovers, and none.
    make(root / ".one.zarr.building")
    make(root / f"{NAME}.building")
    make(root / f".{NAME}.backup")
    make_file(root / ".notes.tmp")
    make_file(root / ".notes.build.json.tmp")
    return root


@pytest.fixture
def left(root: Path) -> set[str]:
    """Leftovers of every kind; 10 bytes each."""
    other = "two-cdcdcdcdcdcd"
    make(root / f".{NAME}.building")
    make(root / f".{NAME}.units")
    make(root / f".{NAME}.superseded")
    make(root / ".x-y-efefefefefef.zarr.removed")
    make_file(root / f".{other}.h5.packing")
    make_file(root / f".{other}.zarr.zip.packing")
    make_file(root / f".{other}.h5.removed")
    make_file(root / f".{other}.build.json.tmp")
    make_file(root / f".{other}.zarr.build.json.1234.tmp")
    make(root / ".renamed.zarr.removed")
    return {
        *(f".{NAME}.{kind}" for kind in ("building", "units", "superseded")),
        *(f".{other}.{kind}" for kind in ("h5.packing", "zarr.zip.packing", "h5.removed")),
        *(f".{other}.{kind}" for kind in ("build.json.tmp", "zarr.build.json.1234.tmp")),
        ".x-y-efefefefefef.zarr.removed",
        ".renamed.zarr.removed",
    }


class TestLeftovers:
    def test_none_where_nothing_was_cut_off(self, root: Path, tmp_path: Path) -> None:
        assert leftovers(root) == []
        assert leftovers(tmp_path / "nowhere") == []

    def test_every_kind_is_found_with_key_reason_and_size(self, root: Path, left: set[str]) -> None:
        before = names(root)
        found = leftovers(root)
        assert {own.path.name for own in found} == left
        keys = {own.key for own in found}
        assert keys == {"abababababab", "cdcdcdcdcdcd", "efefefefefef", ""}
        assert {own.bytes for own in found} == {10}
        assert all(own.reason and not own.kept for own in found)
        assert names(root) == before

    def test_of_one_key(self, root: Path, left: set[str]) -> None:
        found = {own.path.name for own in leftovers(root, "abababababab")}
        assert found == {name for name in left if "abababababab" in name}

    def test_superseded_store_without_successor_must_stay(self, root: Path) -> None:
        kept = make(root / ".gone-efefefefefef.zarr.superseded")
        (own,) = leftovers(root)
        assert (own.path, own.kept) == (kept, ONLY_COPY)
        assert [own.kept for own in sweep(root)] == [ONLY_COPY]
        assert kept.is_dir()

    def test_whole_store_that_lacks_its_name_must_stay(self, root: Path) -> None:
        """A build was killed between the two renames that replace a store."""
        whole = (root / NAME).rename(root / f".{NAME}.building")
        old = shutil.copytree(whole, root / f".{NAME}.superseded")
        units = make(root / f".{NAME}.units")
        assert {own.path: own.kept for own in sweep(root)} == {
            whole: WHOLE,
            old: ONLY_COPY,
            units: "",
        }
        assert (whole.is_dir(), old.is_dir(), units.exists()) == (True, True, False)
        shutil.copytree(whole, root / NAME)
        assert [own.kept for own in sweep(root)] == ["", ""]


class TestSweep:
    def test_leftovers_go_and_nothing_else(self, root: Path, left: set[str]) -> None:
        before = names(root)
        content = (root / NAME / "zarr.json").read_bytes()
        assert {own.path.name for own in sweep(root) if not own.kept} == left
        # Locks that it took leave their empty files, which it does not dare to remove.
        locks = {f".{key}.lock" for key in ("cdcdcdcdcdcd", "efefefefefef")}
        assert names(root) == (before - left) | locks
        assert (root / NAME / "zarr.json").read_bytes() == content
        assert list(sweep(root)) == []

    def test_dry_run_changes_nothing(self, root: Path, left: set[str]) -> None:
        before = names(root)
        found = list(sweep(root, dry_run=True))
        assert {own.path.name for own in found if not own.kept} == left
        assert names(root) == before

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_what_a_build_holds_stays(self, root: Path, left: set[str], dry_run: bool) -> None:
        with writer_lock(root, OTHER):
            found = list(sweep(root, dry_run=dry_run))
        held = {name for name in left if "cdcdcdcdcdcd" in name}
        assert {own.path.name for own in found} == left
        assert {own.path.name for own in found if own.kept == BUSY} == held
        assert left & names(root) == (left if dry_run else held)

    def test_a_killed_build_holds_nothing(self, root: Path, left: set[str]) -> None:
        context = multiprocessing.get_context("spawn")
        holding = context.Event()
        process = context.Process(target=_hold, args=(root, holding))
        process.start()
        assert holding.wait(60)
        assert {own.key for own in sweep(root, dry_run=True) if own.kept} == {"abababababab"}
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert not any(own.kept for own in sweep(root))

    def test_a_build_that_ended_meanwhile_has_left_nothing(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The list is made before the lock is taken, and again after."""
        building = make(root / ".new-efefefefefef.zarr.building")
        swept = sweep(root)
        taken = leftovers(root)
        assert [own.path for own in taken] == [building]

        def ends_first(folder: Path, key: str):
            building.rename(root / "new-efefefefefef.zarr")
            return writer_lock(folder, key)

        monkeypatch.setattr(leftovers_module, "writer_lock", ends_first)
        assert list(swept) == []
        assert (root / "new-efefefefefef.zarr/root").is_file()

    def test_of_a_link_only_the_link_goes(self, root: Path, tmp_path: Path) -> None:
        precious = make(tmp_path / "precious")
        (root / f".{NAME}.units").symlink_to(precious)
        (own,) = sweep(root)
        assert not own.kept
        assert not own.path.is_symlink()
        assert size_of(precious) == 10

    def test_what_cannot_be_removed_is_said_and_the_rest_goes(
        self, root: Path, left: set[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(shutil, "rmtree", refuse)
        found = {own.path.name: own.kept for own in sweep(root)}
        folders = {name for name in left if (root / name).is_dir()}
        assert {name for name, kept in found.items() if "Permission denied" in kept} == folders
        assert left & names(root) == folders


def _hold(root: Path, holding) -> None:
    with writer_lock(root, KEY):
        holding.set()
        signal.pause()


class TestFindRemovable:
    @pytest.mark.parametrize("wanted", [KEY, KEY[:8], "one", NAME])
    def test_by_key_and_name(self, root: Path, wanted: str) -> None:
        target = find_removable(root, wanted)
        assert (target.path, target.key, target.damage) == (root / NAME, KEY, "")

    def test_by_path_anywhere(self, root: Path, tmp_path: Path) -> None:
        moved = (root / NAME).rename(tmp_path / "copy.zarr")
        target = find_removable(root, str(moved))
        assert (target.path, target.key) == (moved, KEY)

    def test_from_inside(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root / NAME)
        assert find_removable(root, ".").path == root / NAME

    @pytest.mark.parametrize("by_path", [True, False])
    def test_damaged_store(self, root: Path, by_path: bool) -> None:
        (root / NAME / "zarr.json").write_text("{")
        target = find_removable(root, str(root / NAME) if by_path else NAME)
        assert (target.path, target.key) == (root / NAME, "abababababab")
        assert "zarr.json" in target.damage

    def test_hdf5_file_that_is_cut_off(self, root: Path) -> None:
        path = make_file(root / "one-efefefefefef.h5")
        target = find_removable(root, path.name)
        assert (target.path, target.key) == (path, "efefefefefef")
        assert target.damage

    def test_what_may_be_no_store_is_refused(self, root: Path) -> None:
        for path in (make_file(root / "labels.h5"), make(root / "raw.zarr"), root):
            with pytest.raises(InputError, match="may not be a store"):
                find_removable(root, str(path))
        with pytest.raises(InputError, match="may not be a store"):
            find_removable(root, "labels.h5")

    def test_of_two_formats_one_must_be_named(self, root: Path) -> None:
        other = make_file(root / "one-abababababab.h5")
        for wanted in (KEY, KEY[:8], "one", "one-abababababab."):
            with pytest.raises(InputError, match="2 stores") as caught:
                find_removable(root, wanted)
            assert other.name in str(caught.value)
            assert NAME in str(caught.value)
        for wanted in (NAME, str(root / NAME), "one-abababababab.z"):
            assert find_removable(root, wanted).path == root / NAME
        assert find_removable(root, other.name).path == other

    @pytest.mark.parametrize("kind", ["superseded", "building"])
    def test_leftovers_are_no_stores(self, root: Path, kind: str) -> None:
        left = shutil.copytree(root / NAME, root / f".{NAME}.{kind}")
        with pytest.raises(InputError, match="featstore gc"):
            find_removable(root, str(left))

    def test_unknown_name(self, root: Path) -> None:
        with pytest.raises(StoreNotFoundError, match="'three'"):
            find_removable(root, "three")
        with pytest.raises(InputError, match="empty"):
            find_removable(root, "")


class TestRemoveStore:
    def test_store_and_what_goes_with_it(self, root: Path) -> None:
        superseded = make(root / f".{NAME}.superseded")
        cut_off = make(root / f".{NAME}.removed")
        before = names(root)
        beside = root / "one-abababababab.build.json"
        remove_store(find_removable(root, NAME), [beside, root / "absent.json"])
        assert names(root) == before - {NAME, superseded.name, cut_off.name, beside.name}

    def test_last_may_name_it(self, root: Path) -> None:
        remember_last(root, root / NAME)
        remove_store(find_removable(root, NAME))
        assert find(root).name == "two-cdcdcdcdcdcd.zarr"
        remove_store(find_removable(root, "two"))
        with pytest.raises(StoreNotFoundError, match="featstore build"):
            find(root)

    def test_file_and_link(self, root: Path, tmp_path: Path) -> None:
        path = make_file(root / "one-efefefefefef.h5")
        remove_store(find_removable(root, path.name))
        assert not path.exists()
        moved = (root / NAME).rename(tmp_path / NAME)
        (root / NAME).symlink_to(moved)
        remove_store(find_removable(root, NAME))
        assert not (root / NAME).is_symlink()
        assert find(tmp_path, str(moved)) == moved

    def test_store_that_is_being_built(self, root: Path) -> None:
        target = find_removable(root, NAME)
        check_free(target)
        with writer_lock(root, KEY):
            with pytest.raises(BusyError, match="being built or repaired"):
                check_free(target)
            with pytest.raises(BusyError):
                remove_store(target)
        assert find_removable(root, NAME) == target

    def test_store_without_a_key_in_its_name_has_the_lock_of_its_key(self, root: Path) -> None:
        (root / NAME).rename(root / "mine.zarr")
        with writer_lock(root, KEY), pytest.raises(BusyError):
            remove_store(find_removable(root, "mine.zarr"))

    def test_removed_by_another_process_meanwhile(self, root: Path) -> None:
        target = find_removable(root, NAME)
        remove_store(target)
        with pytest.raises(StoreNotFoundError, match="no longer exists"):
            remove_store(target)

    def test_removal_that_is_cut_off_is_a_leftover(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                remove_store(find_removable(root, NAME))
        assert NAME not in names(root)
        assert [own.path.name for own in sweep(root)] == [f".{NAME}.removed"]
        assert f".{NAME}.removed" not in names(root)


def _interrupted(path: Path) -> None:
    (path / "zarr.json").unlink()
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a-b-0123456789ab.zarr", "0123456789ab"),
        ("a-0123456789ab.zarr.zip", "0123456789ab"),
        ("a-0123456789ab", "0123456789ab"),
        ("0123456789ab.zarr", ""),
        ("a-0123456789abc.zarr", ""),
        ("a-0123456789AB.zarr", ""),
        ("a-0123456789ab.zarr.bak", ""),
    ],
)
def test_key_of(name: str, key: str) -> None:
    assert key_of(name) == key


def test_size_of(tmp_path: Path) -> None:
    assert size_of(make(tmp_path / "folder", 100)) == 100
    assert size_of(make_file(tmp_path / "file", 7)) == 7
    assert size_of(tmp_path / "absent") == 0
