"""Builds on real worker processes, some of which are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import featstore
import featstore.format.layout
from featstore.errors import InputError
from featstore.format.files import files_at
from featstore.writing.writer import StoreWriter
from pipeline.build import build as stage
from pipeline.build import store_build
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.build.plan.options import BuildOptions
from pipeline.system import dask_cluster as cluster_module
from pipeline.system.dask_cluster import Cluster
from pipeline.system.dask_schedulers import check_spec
from tests.builds import ROWS, build, options_of, row, silent, write_dataset
from tests.pipeline.build.test_failures import damage
from tests.videos import write_table

pytest.importorskip("distributed")
UNITS = 33


class Started:
    """A scheduler and workers, started as a user does, from a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / f"scheduler-{os.urandom(4).hex()}.json"
        self.scheduler = self.start_scheduler()
        self.workers: list[subprocess.Popen] = []

    def start_scheduler(self) -> subprocess.Popen:
        self.file.unlink(missing_ok=True)
        given = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        started = self._start("scheduler", "--scheduler-file", str(self.file), *given)
        while not self.file.exists():
            assert started.poll() is None
            time.sleep(0.05)
        return started

    def start_worker(self, **environment: str) -> subprocess.Popen:
        given = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        worker = self._start("worker", "--scheduler-file", str(self.file), *given, **environment)
        self.workers.append(worker)
        return worker

    def _start(self, command: str, *given: str, **more: str) -> subprocess.Popen:
        quiet = {"DASK_LOGGING__DISTRIBUTED": "error"}
        short = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "4s"}
        short["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{command}", *given],
            cwd=self.folder,
            env={**os.environ, **quiet, **short, **more},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        """Wait until every worker is there."""
        from distributed import Client

        address = json.loads(self.file.read_text())["address"]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers))

    def remove(self, worker: subprocess.Popen) -> None:
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self.workers = []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has its own packages of the names that featstore's have."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("models", "pipeline"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('not the one you want')\n")
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path, bucket: str) -> Iterator[Started]:
    """Two workers, which know the bucket."""
    started = Started(folder)
    started.start_worker()
    started.start_worker()
    started.wait()
    yield started
    started.stop()


@pytest.fixture
def victim(shared: Started) -> Iterator[subprocess.Popen]:
    """A third worker, which ends with the test."""
    worker = shared.start_worker()
    shared.wait()
    yield worker
    shared.remove(worker)


@pytest.fixture
def started(folder: Path) -> Iterator[Started]:
    own = Started(folder)
    yield own
    own.stop()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featstore.format.layout, "CHUNK_BYTES", 4 * 512 * 2)


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> featstore.Store:
    """The same store, built by this process with as many threads as a worker has."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(featstore.format.layout, "CHUNK_BYTES", 4 * 512 * 2)
        try:
            store = build(options_of(data, tmp_path_factory.mktemp("alone")))
        finally:
            torch.set_num_threads(threads)
    assert len(store.layout.units()) == UNITS
    return store


def build_on(
    options: BuildOptions, spec: object, log: Callable[[str], None] = silent
) -> Path | str:
    cache = cache_of(options.store)
    try:
        with Cluster(str(spec), log) as cluster:
            plan = plan_build(options, cache, silent, cluster)
            stage.build(plan, cache, log, cluster)
    finally:
        cache.close()
    return plan.path


def contents(store: Path | str) -> dict[str, bytes]:
    store = Path(store)
    files = (path for path in store.rglob("*") if path.is_file())
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


@contextmanager
def after_units(number: int, act: Callable[[], object]) -> Iterator[list[int]]:
    """Do something once so many units are committed; yields the units that are."""
    plain, done = StoreWriter.commit, []

    def commit(self: StoreWriter, unit: int, *given, **more) -> None:
        plain(self, unit, *given, **more)
        done.append(unit)
        if len(done) == number:
            act()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreWriter, "commit", commit)
        yield done


def test_workers_in_a_folder_of_other_packages_write_the_bytes_of_one_process(
    data: Path, alone: featstore.Store, shared: Started, tmp_path: Path
) -> None:
    said: list[str] = []
    path = build_on(options_of(data, tmp_path), shared.file, said.append)
    assert contents(path) == contents(Path(alone.path))
    assert any(line.startswith("dashboard: http") for line in said)
    assert not list(tmp_path.glob(".*.units"))


def test_rows_of_other_stores_are_copied_by_workers_too(
    data: Path, shared: Started, tmp_path: Path
) -> None:
    options = options_of(data, tmp_path, normalise="0.4,0.2")
    build_on(options, shared.file)
    more = data.with_name("more.csv")
    rows = [*ROWS, row("val.mkv", 1, 22, "val")]
    write_table(more, rows)
    said: list[str] = []
    path = build_on(options_of(more, tmp_path, normalise="0.4,0.2"), shared.file, said.append)
    assert any(line.startswith("copied: 5 clips") for line in said)
    fresh = build_on(options_of(more, tmp_path / "fresh", normalise="0.4,0.2"), shared.file)
    assert contents(path) == contents(fresh)


def test_failed_clips_are_named_and_counted(shared: Started, tmp_path: Path) -> None:
    table = write_dataset(tmp_path)
    damage(tmp_path / "train.mp4", 0.4, 0.6)
    with pytest.raises(InputError, match=r"failed,.*--max-failures allows 0: .*train\.mp4"):
        build_on(options_of(table, tmp_path / "none", normalise="0.4,0.2"), shared.file)
    allowed = {"normalise": "0.4,0.2", "max_failures": "4"}
    path = build_on(options_of(table, tmp_path / "some", **allowed), shared.file)
    own = build(options_of(table, tmp_path / "own", **allowed))
    assert 0 < len(own.attributes["failed"]) <= 4
    assert featstore.open(path).attributes["failed"] == own.attributes["failed"]


def test_a_worker_that_is_killed_is_replaced_by_the_others(
    data: Path, alone: featstore.Store, shared: Started, victim: subprocess.Popen, tmp_path: Path
) -> None:
    with after_units(5, victim.kill) as done:
        path = build_on(options_of(data, tmp_path), shared.file)
    assert len(done) == UNITS
    assert victim.wait() == -signal.SIGKILL
    assert contents(path) == contents(Path(alone.path))


def test_a_worker_that_never_returns_is_given_up(
    data: Path,
    alone: featstore.Store,
    shared: Started,
    victim: subprocess.Popen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_module, "SECONDS_TO_STRAGGLE", 600)  # the scheduler finds out
    with after_units(5, lambda: victim.send_signal(signal.SIGSTOP)) as done:
        path = build_on(options_of(data, tmp_path), shared.file)
    assert len(done) == UNITS
    assert contents(path) == contents(Path(alone.path))


def test_a_straggler_is_overtaken(
    data: Path,
    alone: featstore.Store,
    shared: Started,
    victim: subprocess.Popen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_module, "SECONDS_TO_STRAGGLE", 0.5)
    with after_units(5, lambda: victim.send_signal(signal.SIGSTOP)) as done:
        path = build_on(options_of(data, tmp_path), shared.file)
    assert sorted(done) == list(range(UNITS))
    assert contents(path) == contents(Path(alone.path))


def test_a_build_goes_on_after_its_scheduler_is_gone(
    data: Path, alone: featstore.Store, started: Started, tmp_path: Path
) -> None:
    started.start_worker()
    options = options_of(data, tmp_path)
    with (
        after_units(5, started.scheduler.kill) as done,
        pytest.raises(InputError, match="is gone; start it and its workers again"),
    ):
        build_on(options, started.file)
    assert 5 <= len(done) < UNITS
    assert not list(tmp_path.glob("*.zarr"))
    started.stop()
    started.scheduler = started.start_scheduler()
    started.start_worker()
    said: list[str] = []
    path = build_on(options, started.file, said.append)
    assert f"resuming after {len(done)} of {UNITS} finished units" in said
    assert contents(path) == contents(Path(alone.path))


def test_workers_that_compute_otherwise_are_refused_or_noted(
    data: Path, shared: Started, tmp_path: Path
) -> None:
    other = shared.start_worker(ATEN_CPU_CAPABILITY="default")
    shared.wait()
    with pytest.raises(InputError, match="A worker has other numerics"):
        build_on(options_of(data, tmp_path / "no"), shared.file)
    mixed = options_of(data, tmp_path / "yes", allow_mixed_numerics=True)
    found = featstore.open(build_on(mixed, shared.file)).attributes["mixed_numerics"]
    shared.remove(other)
    assert found
    assert all("cpu_capability" in line for line in found)


def test_workers_write_into_a_bucket(
    data: Path, alone: featstore.Store, shared: Started, tmp_path: Path, bucket: str
) -> None:
    url = build_on(options_of(data, tmp_path, bucket=f"{bucket}/{tmp_path.name}"), shared.file)
    assert isinstance(url, str)
    found = {name: files_at(url).read(name) for name in files_at(url).names()}
    assert found == contents(Path(alone.path))


def test_processes_of_this_machine(
    data: Path, alone: featstore.Store, tmp_path: Path, folder: Path
) -> None:
    options, environment = options_of(data, tmp_path), dict(os.environ)
    path = build_on(options, "local:1")
    assert os.environ == environment
    assert contents(path) == contents(Path(alone.path))


def test_a_second_build_needs_no_scheduler(
    data: Path, alone: featstore.Store, tmp_path: Path
) -> None:
    root = tmp_path / "features"
    shutil.copytree(Path(alone.path).parent, root)
    build_on(options_of(data, root), "tcp://127.0.0.1:1")


def test_a_worker_that_does_not_see_the_store_says_so(
    data: Path, shared: Started, tmp_path: Path
) -> None:
    class Elsewhere(StoreWriter):
        @property
        def places(self) -> tuple[str, str, str]:
            files, _, run = super().places
            return files, str(tmp_path / "elsewhere"), run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_build, "StoreWriter", Elsewhere)
        with pytest.raises(InputError, match="does not see this build"):
            build_on(options_of(data, tmp_path / "features"), shared.file)


def test_one_who_took_over_is_not_disturbed(data: Path, shared: Started, tmp_path: Path) -> None:
    def take_over() -> None:
        (file,) = tmp_path.glob(".*.units/run")
        file.write_text("another")

    with (
        after_units(5, take_over),
        pytest.raises(InputError, match="does not see this build"),
    ):
        build_on(options_of(data, tmp_path), shared.file)


@pytest.mark.parametrize("spec", ["local:0", "local:two", "nowhere.json"])
def test_what_cannot_be_meant_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=rf"--dask is '{spec}'"):
        check_spec(spec)


def test_videos_that_cannot_be_read_are_named_as_without_workers(
    shared: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path)
    (tmp_path / "val.mkv").write_bytes(b"no video")
    options = options_of(Path("clips.csv"), Path("features"))
    with pytest.raises(InputError) as alone:
        build(options)
    shutil.rmtree("features")
    with pytest.raises(InputError) as there:
        build_on(options, shared.file)
    assert str(there.value) == str(alone.value)
    assert str(there.value).startswith("val.mkv cannot be read as a video")


def test_no_scheduler_is_a_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "SECONDS_TO_CONNECT", 1)
    with pytest.raises(InputError, match="no scheduler answers there"):
        build_on(options_of(data, tmp_path), "tcp://127.0.0.1:1")
    file = tmp_path / "broken.json"
    file.write_text(json.dumps({"id": 1}))
    with pytest.raises(InputError, match=r"broken\.json'.*is"):
        build_on(options_of(data, tmp_path), file)
