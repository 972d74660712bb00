import shutil
from pathlib import Path

import pytest
import zarr
from click.testing import CliRunner, Result

from featstore import Store
from featstore.seal import file_checksums, sealed
from pipeline.cli import main
from pipeline.config import load_recipe
from pipeline.train import train
from tests.builds import ROWS, build, options_of, silent, write_dataset

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
        heading, *rows = table_rows(printed("ls", "--store", folder / "features"))
        assert heading[:5] == ["store", "key", "clips", "steps", "dim"]
        expected = [
            [store.path.name, store.key[:12], str(len(KEPT)), str(STEPS), "512"] for store in stores
        ]
        assert sorted(row[:5] for row in rows) == sorted(expected)
        assert all(row[-1] == "UNTRAINED" for row in rows)

    @pytest.mark.parametrize("made", [True, False])
    def test_folder_without_stores(self, tmp_path: Path, made: bool) -> None:
        root = tmp_path / "none"
        if made:
            root.mkdir()
        (line,) = printed("ls", "--store", root).splitlines()
        assert line.startswith(f"There is no store in {root}")


class TestInfo:
    def test_found_by_path_key_and_name(self, folder: Path, stores: list[Store]) -> None:
        store = stores[1]
        text = printed("info", store.path)
        for wanted in (store.key, store.key[:6], store.path.name, store.path.stem):
            assert printed("info", "--root", folder / "features", wanted) == text
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
        stated = {k: v for k, v in group.attrs.items() if k not in ("seal", "seal_sha256")}
        group.update_attributes(sealed(stated, file_checksums(copy)))
        rows = table_rows(printed("info", copy))
        assert ["failed", "1", "clips"] in rows
        assert ["all", "2", "1", "0"] in rows

    def test_unknown_name_lists_the_stores(self, folder: Path, stores: list[Store]) -> None:
        result = run("info", "--root", folder / "features", "nonesuch")
        refused(result, "'nonesuch'", *(store.path.name for store in stores))

    def test_folder_without_stores(self, tmp_path: Path) -> None:
        refused(run("info", "--root", tmp_path, "nonesuch"), "featstore build")

    def test_path_that_is_no_store(self, tmp_path: Path) -> None:
        refused(run("info", tmp_path), f"There is no store at {tmp_path}")

    def test_name_that_fits_two(self, folder: Path, stores: list[Store]) -> None:
        shared = stores[0].path.name[:3]
        assert stores[1].path.name.startswith(shared)
        refused(run("info", "--root", folder / "features", shared), "fits 2 stores")


class TestReport:
    def test_prints_the_report(self, trained: Path) -> None:
        before = (trained / "report.md").read_text("utf-8")
        (trained / "report.md").unlink()
        assert printed("report", trained).rstrip("\n") == before.rstrip("\n")
        assert (trained / "report.md").read_text("utf-8") == before

    def test_doubts_about_the_features_are_in_it(self, trained: Path) -> None:
        assert "The backbone is untrained" in printed("report", trained)

    def test_folder_that_is_no_run(self, tmp_path: Path, stores: list[Store]) -> None:
        refused(run("report", tmp_path), f"{tmp_path}: not a run")
        refused(run("report", tmp_path / "nowhere"), "not a run")
        refused(run("report", stores[0].path), "not a run")
