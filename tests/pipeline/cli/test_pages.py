"""The pages for newcomers: their commands run, and their pictures are what the script draws."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.demo import draw
from pipeline.demo.film import film_all
from tests.folders import DOCS
from tests.videos import textured, write_video

# What makes the commands of the pages quick; the flags on the pages come first.
QUICK = {
    "FEATSTORE_BUILD_DEVICE": "cpu",
    "FEATSTORE_BUILD_WORKERS": "1",
    "FEATSTORE_TRAIN_DEVICE": "cpu",
    "FEATSTORE_TRAIN_SET": "train.epochs=1",
    "FEATSTORE_DEMO_DATA_WORKERS": "1",
}
# In place of the weights that are downloaded by default.
TINY = {
    "FEATSTORE_BUILD_BACKBONE": "squeezenet1_1",
    "FEATSTORE_BUILD_WEIGHTS": "random",
    "FEATSTORE_BUILD_SIZE": "32",
    "FEATSTORE_BUILD_NORMALISE": "0.5,0.25",
}


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(page: str, **environment: str) -> dict[str, str]:
    """Run the commands of a page; return what each printed."""
    printed = {}
    runner = CliRunner(env=QUICK | environment)
    for command in "".join(blocks(page, "sh")).splitlines():
        name, *words = shlex.split(command, comments=True)
        assert name == "featstore"
        result = runner.invoke(main, words)
        assert result.exit_code == 0, f"{command}\n{result.output}"
        printed[" ".join([name, *words])] = result.output
    return printed


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the tutorial ran, with a data set whose pictures stand still."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(draw, "film_all", partial(film_all, hold=90))
        run("tutorial.md")
        yield folder


def test_tutorial(demo: Path) -> None:
    assert (demo / "runs/tcn/report.html").is_file()
    assert list((demo / "predictions").glob("**/segments.vtt"))
    assert len(list((demo / "features").glob("*.zarr"))) == 1


def test_python_of_the_tutorial(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("tutorial.md", "python")
    exec(compile(code, "tutorial.md", "exec"), {})  # noqa: S102
    assert len(list((demo / "features").glob("*.zarr"))) == 1, "it built another store"
    assert "report.html" in capsys.readouterr().out


def test_drive_and_act(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/driveact").symlink_to(demo / "data")
    printed = run("driveact.md", FEATSTORE_TRAIN_RECIPE="nearest_class_mean", **TINY)
    assert "5 frames a second" in printed["featstore build"]
    assert (tmp_path / "runs/driveact/report.md").is_file()


def test_your_own_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(f"{c}/person{p}_{c}" for c in ("wave", "clap") for p in range(5)):
        path = tmp_path / f"videos/{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, textured(12, seed=number))
    printed = run("videos.md", FEATSTORE_TRAIN_RECIPE="nearest_class_mean", **TINY)
    assert "5 subjects" in printed["featstore init videos"]
    assert "file featstore.yaml" in printed["featstore config build"]


def test_pictures_are_what_the_script_draws() -> None:
    spec = importlib.util.spec_from_file_location("draw_concepts", DOCS / "draw_concepts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, drawn in module.pictures().items():
        assert (DOCS / "pictures" / name).read_text("utf-8") == drawn, (
            "run `python docs/draw_concepts.py`"
        )


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text("utf-8")
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.glob("**/*.md")]
    assert [page for page in pages if f": {page}\n" not in navigation] == []
