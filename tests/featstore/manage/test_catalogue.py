import pytest

from featstore import InputError, StoreNotFoundError
from featstore.manage.catalogue import entries, find, remember_last, store_path, unreadable
from tests.stores import contents, write_store

FIRST, SECOND = "ab" * 32, "cd" * 32


@pytest.fixture
def root(tmp_path):
    write_store(tmp_path / "one-abababababab.zarr", contents(key=FIRST))
    write_store(tmp_path / "two-cdcdcdcdcdcd.zarr", contents(key=SECOND))
    (tmp_path / "foreign.zarr").mkdir()
    return tmp_path


def test_entries_are_the_sealed_stores(root) -> None:
    assert [entry.key for entry in entries(root)] == [FIRST, SECOND]


@pytest.mark.parametrize("wanted", ["cdcdcd", SECOND, "two", "two-cdcdcdcdcdcd.zarr"])
def test_find_by_key_and_name(root, wanted: str) -> None:
    assert find(root, wanted).name == "two-cdcdcdcdcdcd.zarr"


def test_find_by_path(root) -> None:
    path = root / "one-abababababab.zarr"
    assert find(root / "elsewhere", str(path)) == path


def test_find_without_name_takes_the_one_built_last(root) -> None:
    with pytest.raises(InputError, match="Several stores"):
        find(root)
    remember_last(root, root / "two-cdcdcdcdcdcd.zarr")
    assert find(root).name.startswith("two")
    remember_last(root, root / "one-abababababab.zarr")
    assert find(root).name.startswith("one")


def test_find_without_name_takes_the_only_one(tmp_path) -> None:
    path = write_store(tmp_path / "one-abababababab.zarr")
    assert find(tmp_path) == path


def test_find_says_what_there_is(root, tmp_path_factory) -> None:
    with pytest.raises(StoreNotFoundError, match=r"one-abababababab\.zarr"):
        find(root, "three")
    with pytest.raises(StoreNotFoundError, match="`featstore build`"):
        find(tmp_path_factory.mktemp("empty"))


def test_find_refuses_what_fits_two(tmp_path) -> None:
    write_store(tmp_path / "one-abababababab.zarr", contents(key=FIRST))
    write_store(tmp_path / "one-abababababcd.zarr", contents(key="ab" * 31 + "cd"))
    with pytest.raises(InputError, match="2 stores"):
        find(tmp_path, "ababab")


def test_store_path_is_found_by_key_under_any_name(root) -> None:
    assert store_path(root, "renamed", SECOND, ".zarr").name == "two-cdcdcdcdcdcd.zarr"
    assert store_path(root, "new", "ef" * 32, ".zarr") == root / "new-efefefefefef.zarr"
    # Of the same key in another format there is none yet.
    assert store_path(root, "new", SECOND, ".h5") == root / "new-cdcdcdcdcdcd.h5"


def test_unreadable_stores_are_named(root) -> None:
    assert len(list(unreadable(root))) == 1
    (root / "one-abababababab.zarr/zarr.json").write_text("{")
    assert [entry.path.name for entry in entries(root)] == ["two-cdcdcdcdcdcd.zarr"]
    assert "one-abababababab.zarr" in " ".join(unreadable(root))


def test_an_empty_name_is_refused(root) -> None:
    with pytest.raises(InputError, match="empty"):
        find(root, "")
