"""``featstore export`` and ``featstore import``, and the examples of docs/convert.md."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import featstore
from featstore import Store
from featstore.keys import store_key
from pipeline.cli import main
from tests.builds import build, options_of, plan_of, write_dataset
from tests.pages import fences, lines
from tests.pages import run as run_commands
from tests.pipeline.ingest.test_activitynet import write_features, write_labels
from tests.pipeline.ingest.test_mstcn import write_gtea


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def printed(*args: str | Path) -> list[str]:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def refused(*args: str | Path) -> str:
    """One sentence and exit code 2."""
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("built")
    return build(options_of(write_dataset(folder / "data"), folder / "features"))


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """The folder in which every example ran, and what the commands printed."""
    folder = tmp_path_factory.mktemp("docs")
    said: dict[str, list[str]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_gtea(folder / "gtea")
        write_features(folder / "tsp_features")
        write_labels(folder / "activity_net.v1-3.min.json")
        for language, code in fences("docs/convert.md"):
            if language == "python":
                exec(compile(code, "convert.md", "exec"), {})  # noqa: S102
            elif language == "sh":
                output = run_commands(list(lines(code)))
                said |= {command: text.splitlines() for command, text in output.items()}
    return folder, said


def test_documented_import_of_video_features_trains(documented) -> None:
    folder, said = documented
    assert (folder / "runs/first/report.md").is_file()
    assert "imported as float32" in (folder / "runs/first/report.md").read_text()
    (command,) = (own for own in said if "output/resnet" in own)
    assert said[command][0].startswith("resnet18: 10 clips of 2 classes")
    path, key = said[command][-1].split()
    assert featstore.open(folder / path).key == key


def test_documented_steps_become_clips(documented) -> None:
    folder, said = documented
    (command,) = (own for own in said if "MP_Data" in own)
    assert said[command][0] == "MP_Data fold 0 of 5: 20 clips of 2 classes, 30 steps x 12, float32"
    assert len(featstore.open(folder / said[command][-1].split()[0])) == 20


def test_documented_array_is_shown(documented) -> None:
    folder, said = documented
    shown = "\n".join(said["featstore info home-made"])
    assert "unknown: the features were imported" in shown
    assert re.search(r"^left +16 +7 +7$", shown, re.MULTILINE)
    listed = "\n".join(printed("ls", "--stores", folder / "features"))
    assert "home-made" in listed
    (again,) = printed(
        "import", folder / "clips.npy", "--labels", folder / "clips.csv", "--fps", "8",
        "--stores", folder / "features", "--name", "other",
    )[-2:-1]  # fmt: skip
    assert again == "already there: nothing to do"


def test_documented_exports_are_equal(documented) -> None:
    folder, said = documented
    store = featstore.open(next((folder / "features").glob("home-made-*.zarr")))
    for name in ("home.h5", "home.zarr.zip"):
        copy = featstore.open(folder / "copies" / name)
        assert copy.key == store.key
        np.testing.assert_array_equal(copy.rows.span(0, 960), store.rows.span(0, 960))
    again = next((folder / "again").glob("*.zarr"))
    assert tree(again) == tree(Path(store.path))
    (command,) = (own for own in said if "half.zarr" in own)
    assert said[command][0].startswith("float16 error: 0.000")
    known = json.loads((folder / "copies/half.zarr.build.json").read_text())
    assert known["exported"] == store.key
    assert known["float16_error"]["relative_rms"] < 1e-3


def test_key_of_a_built_store_can_be_recomputed(built: Store) -> None:
    clips, features = built.clip_keys(), built.attributes["features"]
    known = built.subjects_known
    assert store_key(features, built.classes, clips, subjects_known=known) == built.key


def test_float16_is_what_build_makes(tmp_path: Path, built: Store) -> None:
    (_, line) = printed("export", built.path, tmp_path / "half.zarr", "--dtype", "float16")
    data = Path(built.path).parents[1] / "data/clips.csv"
    options = options_of(data, tmp_path, dtype="float16")
    assert line.split()[1] == plan_of(options).key
    half = build(options)
    assert tree(tmp_path / "half.zarr") == tree(Path(half.path))


def test_built_store_comes_back_from_npy(tmp_path: Path, built: Store) -> None:
    printed("export", built.key[:12], tmp_path / "out", "--stores", Path(built.path).parent)
    assert "seconds" in json.loads((tmp_path / "out.build.json").read_text())
    labels = tmp_path / "out/clips.csv"
    last = printed("import", tmp_path / "out", "--labels", labels, "--stores", tmp_path / "s")[-1]
    again = featstore.open(last.split()[0])
    for name in ("clip_ids", "labels", "subjects", "videos", "splits", "start", "stop"):
        np.testing.assert_array_equal(getattr(again, name), getattr(built, name))
    for name in ("frame", "time", "row_size", "status"):
        np.testing.assert_array_equal(again.columns[name], built.columns[name])
    steps = built.layout.steps
    np.testing.assert_array_equal(again.rows.span(0, steps), built.rows.span(0, steps))


def test_mistakes_are_one_sentence(tmp_path: Path, built: Store) -> None:
    assert "exists" in refused("export", built.path, tmp_path)
    assert "uncompressed" in refused(
        "export", built.path, tmp_path / "a.h5", "--compression", "zstd"
    )
    assert "no store" in refused("export", tmp_path / "none.zarr", tmp_path / "b.zarr").lower()
    assert "does not exist" in refused("import", tmp_path, "--labels", tmp_path / "no.csv")
    (tmp_path / "l.csv").write_text("clip_id,label,split\na,b,train\n")
    assert "no .npy file" in refused("import", tmp_path, "--labels", tmp_path / "l.csv")
    assert "HDF5 stores are not compressed" in refused(
        "import", tmp_path, "--labels", tmp_path / "l.csv", "--format", "hdf5",
        "--compression", "zstd",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == [tmp_path / "l.csv"]
