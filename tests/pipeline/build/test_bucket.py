"""Builds straight into a bucket."""

import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner

import featstore
import featstore.format.layout
from featstore.errors import InputError
from featstore.format.files import Bucket, files_at
from featstore.manage.catalogue import find, remember_last
from featstore.writing.staging import Staging
from featstore.writing.writer import StoreWriter
from pipeline.build import build as stage
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.cli import main
from tests.builds import build, options_of, silent, write_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data")


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featstore.format.layout, "CHUNK_BYTES", 4 * 512 * 8)


@pytest.fixture
def place(bucket: str, tmp_path: Path) -> str:
    return f"{bucket}/{tmp_path.name}"


def files(url: str) -> dict[str, bytes]:
    return {name: files_at(url).read(name) for name in files_at(url).names()}


def local(store: featstore.Store) -> dict[str, bytes]:
    return files(str(store.path))


def test_the_same_bytes_as_in_a_folder(data: Path, place: str, tmp_path: Path) -> None:
    store = build(options_of(data, tmp_path / "here", bucket=place))
    assert str(store.path).startswith(place)
    other = build(options_of(data, tmp_path / "there"))
    assert local(store) == local(other)
    assert {name.split("/")[0] for name in files(place)} == {Path(str(store.path)).name}
    assert (tmp_path / "here" / f"{Path(str(store.path)).name}.build.json").is_file()


def test_a_second_build_finds_it(data: Path, place: str, tmp_path: Path, computed) -> None:
    options = options_of(data, tmp_path / "here", bucket=place)
    build(options)
    before = len(computed)
    build(options)
    build(options_of(data, tmp_path / "another folder", bucket=place))
    assert len(computed) == before > 0


def test_what_is_unfinished_is_no_store_and_is_gone_on_from(
    data: Path, place: str, tmp_path: Path, computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = StoreWriter.commit

    def fails(self, unit, *given, **more) -> None:
        if unit == 3:
            raise KeyboardInterrupt
        plain(self, unit, *given, **more)

    options = options_of(data, tmp_path / "here", bucket=place)
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "commit", fails)
        with pytest.raises(KeyboardInterrupt):
            build(options)
    cache = cache_of(options.store)
    plan = plan_build(options, cache, silent)
    assert not plan.built
    with pytest.raises(featstore.StoreNotFoundError):
        featstore.open(plan.path)
    del computed[:]
    said: list[str] = []
    stage.build(plan, cache, said.append)
    cache.close()
    whole = build(options_of(data, tmp_path / "there", normalise="split"))
    units = len(whole.layout.units())
    assert f"resuming after 3 of {units} finished units" in said
    assert len(computed) == (units - 3) + units
    assert files(str(plan.path)) == local(whole)
    assert not list(Bucket(f"{place}/.{Path(str(plan.path)).name}.units").names())


def test_a_store_of_the_folder_is_copied(data: Path, place: str, tmp_path: Path, computed) -> None:
    here = build(options_of(data, tmp_path / "here"))
    del computed[:]
    there = build(options_of(data, tmp_path / "here", bucket=place))
    assert computed == []
    assert local(there) == local(here)


@pytest.mark.parametrize("given", [{"format": "hdf5"}, {"repair": True}, {"retry_failed": True}])
def test_what_a_bucket_cannot_have_is_refused(
    data: Path, place: str, tmp_path: Path, given
) -> None:
    with pytest.raises(InputError, match=r"--stores is s3://.*build"):
        options_of(data, tmp_path, bucket=place, **given)


def test_the_command_line_takes_a_url(
    data: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = [
        "--source",
        "table",
        "--data",
        str(data),
        "--backbone",
        "squeezenet1_1",
        "--size",
        "32",
    ]
    flags += ["--weights", "random", "--pixels", "luma"]
    ran = CliRunner().invoke(main, ["build", *flags, "--stores", place], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    url, key = ran.output.splitlines()[-1].split()
    assert url.startswith(place)
    assert featstore.open(url).key == key
    assert (tmp_path / "features" / ".last").read_text() == url


def test_what_a_sealed_build_left_is_removed_by_the_next(
    data: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Staging) -> None:
        raise KeyboardInterrupt

    options = options_of(data, tmp_path / "here", bucket=place)
    with monkeypatch.context() as patch:
        patch.setattr(Staging, "forget_units", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(options)
    assert any(".units/" in name for name in files_at(place).names())
    store = build(options)
    assert {name.split("/")[0] for name in files_at(place).names()} == {Path(str(store.path)).name}


def test_credentials_in_a_url_are_used_but_neither_shown_nor_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    place = f"memory://me:secret@host/{tmp_path.name}"  # the system in memory takes it for a name
    flags = ["--source", "table", "--data", str(data), "--backbone", "squeezenet1_1"]
    flags += ["--size", "32", "--weights", "random", "--pixels", "luma", "--stores", place]
    built = CliRunner().invoke(main, ["build", *flags], catch_exceptions=False)
    again = CliRunner().invoke(main, ["build", *flags], catch_exceptions=False)
    assert (built.exit_code, again.exit_code) == (0, 0), built.output + again.output
    url = again.output.splitlines()[-1].split()[0]
    assert url.startswith(f"memory://host/{tmp_path.name}/")
    secret_url = url.replace("://", "://me:secret@")
    store = pickle.loads(pickle.dumps(featstore.open(secret_url)))  # noqa: S301
    assert str(store.path) == url
    quick = ["--recipe", "linear", "--set", "train.epochs=1", "--out", "run"]
    ran = CliRunner().invoke(main, ["train", "--store", secret_url, *quick], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert url in Path("run/config.yaml").read_text("utf-8")
    missing = CliRunner().invoke(main, ["info", f"{secret_url}-not"])
    assert missing.exit_code == 2
    shown = [built.output, again.output, ran.output, missing.output]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("secret" in text for text in shown)
    assert not any(b"secret" in content for content in written)


def test_a_url_that_the_last_build_left_is_named_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "features"
    root.mkdir()
    remember_last(root, "s3://bucket/x-abababababab.zarr")
    monkeypatch.setattr(Bucket, "read", lambda *_: pytest.fail("opened"))
    with pytest.raises(InputError, match=r"--store s3://bucket/x-abababababab\.zarr"):
        find(root)
