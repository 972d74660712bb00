"""The pages for newcomers: their commands run, and their pictures are what the script draws."""

import importlib.util
from pathlib import Path

import pytest

from tests.folders import DOCS
from tests.pages import TINY, blocks, run, runnable
from tests.videos import textured, write_classes, write_video


def test_tutorial(demo: Path) -> None:
    assert (demo / "runs/tcn/report.html").is_file()
    assert list((demo / "predictions").glob("**/segments.vtt"))
    assert len(list((demo / "features").glob("*.zarr"))) == 1


def test_python_of_the_tutorial(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(demo)
    (code,) = blocks("docs/tutorial.md", "python")
    exec(compile(code, "tutorial.md", "exec"), {})  # noqa: S102
    assert len(list((demo / "features").glob("*.zarr"))) == 1, "it built another store"
    assert "report.html" in capsys.readouterr().out


def test_drive_and_act(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("data/driveact", "demo/data"):
        (tmp_path / folder).parent.mkdir()
        (tmp_path / folder).symlink_to(demo / "data")
    printed = run(runnable("docs/driveact.md"), FEATSTORE_TRAIN_RECIPE="nearest_class_mean", **TINY)
    assert "5 frames a second" in printed["featstore build"]
    assert (tmp_path / "runs/driveact/report.md").is_file()


def test_your_own_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "videos")
    *commands, last = runnable("docs/videos.md")
    printed = run(commands, FEATSTORE_TRAIN_RECIPE="nearest_class_mean", **TINY)
    assert "5 subjects" in printed["featstore init videos"]
    assert "file featstore.yaml" in printed["featstore config build"]
    (tmp_path / "featstore.yaml").unlink()
    table = next(block for block in blocks("docs/videos.md", "") if block.startswith("video,"))
    (tmp_path / "clips.csv").write_text(table)
    for number in (1, 2, 3):
        write_video(tmp_path / f"drive{number}.mp4", textured(240, seed=number), rate=24)
    assert "4 clips of 2 classes in 3 videos" in run([last])[last]
    assert "unit: seconds" in (tmp_path / "featstore.yaml").read_text()


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
