import json
import os
import pty
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zarr
from click.testing import CliRunner, Result

from featstore import Store
from featstore.format.seal import sealed, sha256_of_file, unsealed
from featstore.manage.provenance import provenance_path
from featstore.writing.locks import writer_lock
from pipeline.cli import main
from pipeline.report.html_strips import UNASKED
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from tests.builds import ROWS, build, options_of, silent, write_dataset
from tests.stores import write_store

KEPT = [row for row in ROWS if row["end"] - row["start"] >= 4]
STEPS = sum(row["end"] - row["start"] for row in KEPT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def stores(folder: Path) -> list[Store]:
    """Two stores of the same clips, one clip of which was too short."""
    data = write_dataset(folder / "data")
    root = folder / "features"
    return [build(options_of(data, root, size=size, min_frames=4)) for size in (32, 40)]


@pytest.fixture
def root(tmp_path: Path, folder: Path, stores: list[Store]) -> Path:
    """A copy of the folder of stores, to be changed."""
    return shutil.copytree(folder / "features", tmp_path / "features")


@pytest.fixture(scope="module")
def trained(folder: Path, stores: list[Store]) -> Path:
    recipe = load_recipe("bilstm", ["train.epochs=1", "head.hidden=4"])
    return train(stores[0], recipe, out=folder / "run", device="cpu", log=silent)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def printed(*args: str | Path) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def runs_shown(root: Path) -> dict[str, str]:
    _, *rows = table_rows(printed("ls", "--stores", root))
    return {row[0]: row[-2] for row in rows}


def read_last(root: Path) -> str:
    return (root / ".last").read_text("utf-8")


def at_terminal(answer: str, *args: str | Path) -> tuple[int, str]:
    """Run a command at a terminal of its own, and answer its question."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, args)]
    with os.fdopen(ours, "wb", 0) as keyboard, os.fdopen(theirs, "rb", 0) as terminal:
        keyboard.write(f"{answer}\n".encode())
        done = subprocess.run(command, stdin=terminal, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def table_rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def refused(result: Result, *words: str) -> None:
    """One sentence and exit code 2."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(".")
    for word in words:
        assert word in line


class TestLs:
    def test_every_store_is_a_line(self, folder: Path, stores: list[Store]) -> None:
        heading, *rows = table_rows(printed("ls", "--stores", folder / "features"))
        assert " ".join(heading) == (
            "store key format clips failed steps x dim backbone weights pixels fps size normalise "
            "GB age runs notes"
        )
        shape = [str(len(KEPT)), "0", str(STEPS), "x", "512"]
        expected = [
            [
                *(store.path.name, store.key[:12], "zarr", *shape),
                *(store.attributes["features"][name] for name in ("backbone", "weights", "pixels")),
                *("all", str(size), "split"),
            ]
            for store, size in zip(stores, (32, 40), strict=True)
        ]
        assert sorted(row[:14] for row in rows) == sorted(expected)
        size = sum(path.stat().st_size for path in stores[0].path.rglob("*") if path.is_file())
        for row in rows:
            assert row[14:] == [f"{size / 1e9:.3f}", row[15], "min", "0", "UNTRAINED"]
            assert int(row[15]) < 60

    @pytest.mark.parametrize(
        ("built", "shown"), [("now", "0 min"), ("2020-01-01T00:00:00", "d"), ("soon", "?")]
    )
    def test_age(self, root: Path, stores: list[Store], built: str, shown: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps({"built": now if built == "now" else built})
        provenance_path(root / stores[0].path.name).write_text(text)
        provenance_path(root / stores[1].path.name).unlink()
        rows = {row.split()[0]: row for row in printed("ls", "--stores", root).splitlines()}
        assert f"{shown}     0  UNTRAINED" in rows[stores[0].path.name]
        assert "?     0  UNTRAINED" in rows[stores[1].path.name]

    def test_damaged_store_is_a_line(self, root: Path, stores: list[Store]) -> None:
        damaged = root / stores[0].path.name
        (damaged / "zarr.json").write_text("{")
        _, row, line = printed("ls", "--stores", root).splitlines()
        assert row.startswith(stores[1].path.name)
        assert str(damaged) in line

    def test_runs_that_train_left_are_counted(self, root: Path, stores: list[Store]) -> None:
        runs = [root.parent / "runs" / name for name in ("one", "two")]
        for number, out in enumerate(runs):
            quick = ("--recipe", "tcn", "--set", "train.epochs=1", "--device", "cpu")
            store = root / stores[0].path.name
            printed("train", "--store", store, "--seed", str(number), "--out", out, *quick)
        assert runs_shown(root) == {stores[0].path.name: "2", stores[1].path.name: "0"}
        shutil.rmtree(runs[0])
        assert runs_shown(root) == {stores[0].path.name: "1", stores[1].path.name: "0"}
        lines = printed("rm", root / stores[0].path.name, "--yes").splitlines()
        assert lines[1] == "1 run used it, and will stay:"
        assert lines[2].startswith(f"  {runs[1]}  (tcn, seed 1, 20")
        assert runs[1].is_dir()

    @pytest.mark.parametrize("made", [True, False])
    def test_folder_without_stores(self, tmp_path: Path, made: bool) -> None:
        root = tmp_path / "none"
        if made:
            root.mkdir()
        (line,) = printed("ls", "--stores", root).splitlines()
        assert line.startswith(f"There is no store in {root}")


class TestRm:
    def test_store_goes_and_the_other_stays(self, root: Path, stores: list[Store]) -> None:
        before = {path.name for path in root.iterdir()}
        store, other = stores
        assert read_last(root) == other.path.name
        lines = printed("rm", "--stores", root, other.key[:8], "--yes").splitlines()
        assert lines[0].startswith(f"{root / other.path.name}  ")
        assert lines[0].endswith("min ago")
        assert lines[1] == "No run that is still there is known to have used it."
        assert lines[2].startswith(f"removed {other.path.name}, ")
        gone = {other.path.name, provenance_path(other.path).name}
        assert {path.name for path in root.iterdir()} == before - gone
        assert printed("ls", "--stores", root).splitlines()[1].startswith(store.path.name)

    @pytest.mark.parametrize("place", ["path", "name"])
    def test_damaged_store(self, root: Path, stores: list[Store], place: str) -> None:
        damaged = root / stores[0].path.name
        (damaged / "zarr.json").unlink()
        named = damaged if place == "path" else damaged.name
        lines = printed("rm", "--stores", root, named, "--yes").splitlines()
        assert lines[1].startswith("It cannot be opened: ")
        assert not damaged.exists()
        assert not provenance_path(damaged).exists()

    def test_store_beside_no_other(self, tmp_path: Path, stores: list[Store]) -> None:
        copy = shutil.copytree(stores[0].path, tmp_path / "copy.zarr")
        assert "built at an unknown time" in printed("rm", copy, "--yes")
        assert not copy.exists()

    def test_nothing_is_removed_without_being_asked(self, root: Path, stores: list[Store]) -> None:
        before = {path.name for path in root.iterdir()}
        result = run("rm", "--stores", root, stores[0].key)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: Nothing was removed: there is no terminal")
        assert "--yes" in line
        assert {path.name for path in root.iterdir()} == before

    def test_answer_at_the_terminal(self, root: Path, stores: list[Store]) -> None:
        store = root / stores[0].path.name
        for answer, code, stays in (("n", 1, True), ("", 1, True), ("y", 0, False)):
            code_found, text = at_terminal(answer, "rm", store)
            assert "Remove it? [y/N]:" in text
            assert (code_found, store.exists()) == (code, stays), text

    def test_store_that_is_being_built(self, root: Path, stores: list[Store]) -> None:
        with writer_lock(root, stores[0].key):
            result = run("rm", root / stores[0].path.name, "--yes")
        refused(result, "is being built or repaired by another process")

    def test_unknown_name(self, root: Path, stores: list[Store]) -> None:
        refused(run("rm", "--stores", root, "nonesuch", "--yes"), "'nonesuch'", stores[0].path.name)


class TestGc:
    def test_leftovers_with_sizes_and_total(self, root: Path, stores: list[Store]) -> None:
        first, second = (root / store.path.name for store in stores)
        units, packing = (root / f".{first.name}.units", root / f".{second.name}.packing")
        units.mkdir()
        (units / "0").write_bytes(bytes(3_000))
        packing.write_bytes(bytes(2_000_000))
        listed = printed("ls", "--stores", root)
        with writer_lock(root, stores[0].key):
            lines = printed("gc", "--stores", root).splitlines()
        assert f"  3.00 kB  {units.name}  (left alone: a build of it is running)" in lines
        reason = "a file that an interrupted build was packing"
        assert f"  2.00 MB  {packing.name}  ({reason})" in lines
        assert lines[-1] == "removed 1 leftover, 2.00 MB; 1 left alone"
        assert (units.is_dir(), packing.exists()) == (True, False)
        assert printed("gc", "--stores", root, "--dry-run").endswith("remove 1 leftover, 3.00 kB\n")
        assert units.is_dir()
        printed("gc", "--stores", root)
        assert printed("gc", "--stores", root) == f"nothing to remove in {root}\n"
        assert printed("ls", "--stores", root) == listed

    def test_no_folder(self, tmp_path: Path) -> None:
        refused(run("gc", "--stores", tmp_path / "none"), str(tmp_path / "none"), "--store")


class TestInfo:
    def test_found_by_path_key_and_name(self, folder: Path, stores: list[Store]) -> None:
        store = stores[1]
        text = printed("info", store.path)
        for wanted in (store.key, store.key[:6], store.path.name, store.path.stem):
            assert printed("info", "--stores", folder / "features", wanted) == text
        assert printed("info", stores[0].path) != text

    def test_what_it_is_made_of(self, stores: list[Store]) -> None:
        store = stores[0]
        rows = table_rows(printed("info", store.path))
        statistics = store.attributes["statistics"]
        for name in ("mean", "std"):
            (value,) = statistics[name]
            assert [name, f"{value:.6f}"] in rows
        frames, clips = statistics["frames"], statistics["clips"]
        assert (frames, clips) == (16, 2)
        measured = f"{statistics['pixels']} pixels of 16 frames of 2 training clips"
        assert ["measured", "on", *measured.split()] in rows
        assert ["key", store.key] in rows
        assert ["features", str(STEPS), "steps", "x", "512,", "float32"] in rows

    def test_classes_with_counts_by_part(self, stores: list[Store]) -> None:
        rows = table_rows(printed("info", stores[0].path))
        first = rows.index(["class", "train", "val", "test"])
        assert rows[first:] == [
            ["class", "train", "val", "test"],
            ["a", "1", "0", "1"],
            ["b", "1", "1", "0"],
            ["all", "2", "1", "1"],
            ["subjects", "1", "1", "1"],
        ]

    def test_dropped_and_failed(self, tmp_path: Path, stores: list[Store]) -> None:
        rows = table_rows(printed("info", stores[0].path))
        assert ["dropped", "1", "clips", "shorter", "than", "4", "frames"] in rows
        assert ["failed", "0", "clips"] in rows
        copy = shutil.copytree(stores[0].path, tmp_path / "copy.zarr")
        clip = int(stores[0].split("test")[0])
        group = zarr.open_group(copy, mode="r+")
        group["status"][clip] = 1  # type: ignore[index]
        files = {p.relative_to(copy).as_posix(): p for p in copy.rglob("*") if p.is_file()}
        checksums = {name: sha256_of_file(path) for name, path in files.items()}
        del checksums["zarr.json"]
        group.update_attributes(sealed(unsealed(dict(group.attrs)), checksums))
        rows = table_rows(printed("info", copy))
        assert ["failed", "1", "clips"] in rows
        assert ["all", "2", "1", "0"] in rows

    def test_unknown_name_lists_the_stores(self, folder: Path, stores: list[Store]) -> None:
        result = run("info", "--stores", folder / "features", "nonesuch")
        refused(result, "'nonesuch'", *(store.path.name for store in stores))

    def test_folder_without_stores(self, tmp_path: Path) -> None:
        refused(run("info", "--stores", tmp_path, "nonesuch"), "featstore build")

    def test_path_that_is_no_store(self, tmp_path: Path) -> None:
        refused(run("info", tmp_path), f"There is no store at {tmp_path}")

    def test_name_that_fits_two(self, folder: Path, stores: list[Store]) -> None:
        shared = stores[0].path.name[:3]
        assert stores[1].path.name.startswith(shared)
        refused(run("info", "--stores", folder / "features", shared), "2 stores")


class TestReport:
    def test_prints_the_report(self, trained: Path) -> None:
        before = (trained / "report.md").read_text("utf-8")
        (trained / "report.md").unlink()
        assert printed("report", trained).rstrip("\n") == before.rstrip("\n")
        assert (trained / "report.md").read_text("utf-8") == before

    def test_prints_the_page_or_tables_and_opens_a_video_only_if_it_may(
        self, trained: Path
    ) -> None:
        page = printed("report", trained, "--format", "html")
        assert page.startswith("<!DOCTYPE html>")
        assert UNASKED not in page
        assert UNASKED in printed("report", trained, "--no-frames", "--format", "html")
        csv = printed("report", trained, "--no-frames", "--format", "csv")
        assert csv.startswith("part,class,clips,score,value,")
        latex = printed("report", trained, "--no-frames", "--format", "latex")
        assert latex.startswith(r"\begin{tabular}")

    def test_doubts_about_the_features_are_in_it(self, trained: Path) -> None:
        assert "The backbone is untrained" in printed("report", trained)

    def test_folder_that_is_no_run(self, tmp_path: Path, stores: list[Store]) -> None:
        refused(run("report", tmp_path), f"{tmp_path}: not a run")
        refused(run("report", tmp_path / "nowhere"), "not a run")
        refused(run("report", stores[0].path), "not a run")


def test_a_foreign_file_does_not_damage_a_store(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.zarr")
    (path / ".DS_Store").write_bytes(b"\0")
    ran = CliRunner().invoke(main, ["verify", str(path)])
    assert ran.exit_code == 0, ran.output
    assert ".DS_Store was added" in ran.output
    assert "is whole" in ran.output
    (path / "label/c/0").unlink()
    assert CliRunner().invoke(main, ["verify", str(path)]).exit_code == 1


def test_a_store_that_lacks_what_builds_write_is_said(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.zarr")
    ran = CliRunner().invoke(main, ["info", str(path)])
    assert ran.exit_code == 2, ran.output
    assert "numerics" in ran.stderr
