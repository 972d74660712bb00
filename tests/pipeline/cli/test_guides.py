"""The guides: their commands and their Python run, in order, on the tutorial's data."""

import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import featstore
from models.backbones import build_backbone
from models.operators import declare_missing_operators
from tests.annotated import PEOPLE, write_dmd, write_hens
from tests.pages import (
    NOT_RUN,
    NOT_RUN_PAGES,
    PAGES,
    TINY,
    blocks,
    fences,
    lines,
    run,
    runnable,
    shell,
)
from tests.videos import textured, write_classes, write_table, write_video

# Pages that other tests run: test_pages.py, test_convert.py, train/data/test_stores.py.
ELSEWHERE = {
    *("docs/tutorial.md", "docs/videos.md", "docs/driveact.md"),
    *("docs/convert.md", "docs/fusion.md"),
}
# Pages whose Python runs: examples here and there, whole programs in the tests of their pages.
EXAMPLES = {f"docs/{name}.md" for name in ("python", "training", "finetune", "fusion", "sweep")}
PROGRAMS = {"README.md", "docs/tutorial.md", "docs/convert.md", "docs/predict.md"}
PYTHON_NOT_RUN = {"docs/scaling.md": "needs Slurm"}
FINETUNE = {
    **{name.replace("BUILD", "FINETUNE"): value for name, value in TINY.items()},
    "FEATSTORE_FINETUNE_EPOCHS": "1",
    "FEATSTORE_FINETUNE_DEVICE": "cpu",
}
PORTFOLIO = {"FEATSTORE_TRAIN_RECIPE": "nearest_class_mean"}  # in place of `auto`


@pytest.fixture(scope="module")
def world(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tutorial, with the stores of all splits, and recordings to predict."""
    folder = tmp_path_factory.mktemp("guides")
    for name in ("features", "runs"):
        shutil.copytree(demo / name, folder / name)
    shutil.copy(demo / "featstore.yaml", folder)
    (folder / "data").mkdir()
    for path in (demo / "data").iterdir():
        (folder / "data" / path.name).symlink_to(path)
    (folder / "data/driveact").symlink_to(demo / "data")
    with chdir(folder):
        run([f"featstore build --size 64 --split {split}" for split in (1, 2)])
    return folder


@pytest.fixture
def copy(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like `world`, and the working folder."""
    shutil.copytree(world, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_every_block_is_run_or_says_why_not() -> None:
    """Commands are in blocks marked ``sh``; each is run by a test or listed with a reason."""
    for page in PAGES:
        others = [code for language, code in fences(page) if not language]
        programs = {line.split()[0] for code in others for line in lines(code)}
        assert not programs & {"featstore", "python", "pip", "make"}, page
        assert page not in NOT_RUN_PAGES or shell(page), f"{page} has no commands any more"
        assert set(NOT_RUN.get(page, {})) <= set(shell(page)), f"{page} has other commands"
    assert not (NOT_RUN.keys() | NOT_RUN_PAGES.keys()) - set(PAGES)
    assert {page for page in PAGES if runnable(page)} == ELSEWHERE | TESTED


def test_pages_with_python_are_those_that_run() -> None:
    python = {page: "".join(blocks(page, "python")) for page in PAGES}
    assert {page for page, code in python.items() if ">>>" in code} == EXAMPLES
    programs = {page for page, code in python.items() if code and ">>>" not in code}
    assert programs == PROGRAMS | PYTHON_NOT_RUN.keys()


def readme(folder: Path) -> None:
    """Videos in class folders, and random weights where torch keeps downloaded ones."""
    declare_missing_operators()
    from torchvision.models import resnet18

    write_classes(folder / "videos")
    (folder / "new").mkdir()
    write_video(folder / "new/a.mp4", textured(30, seed=20))
    weights = folder / "hub/checkpoints/resnet18-f37072fd.pth"
    weights.parent.mkdir(parents=True)
    torch.save(resnet18().state_dict(), weights)


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    readme(tmp_path)
    run(runnable("README.md"), **PORTFOLIO)
    assert list((tmp_path / "predictions").glob("**/segments.vtt"))
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {"featstore": featstore})  # noqa: S102


def test_training(copy: Path) -> None:
    run(runnable("docs/training.md"), **PORTFOLIO)
    assert (copy / "runs/tcn-all/split2-seed4/report.html").is_file()
    assert (copy / "comparison.html").is_file()


def test_predict(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = sorted((copy / "data/kinect_ir/vp5").glob("*.mp4"))
    shutil.copy(videos[0], copy / "drive.mp4")
    (copy / "recordings").symlink_to(videos[0].parent)
    (label, *_) = featstore.open(next((copy / "features").glob("*.zarr"))).classes
    write_table(copy / "test.csv", [{"video": "drive.mp4", "start": 0, "end": 60, "label": label}])
    run(runnable("docs/predict.md"))
    assert (copy / "exported/model.onnx").is_file()
    (code,) = blocks("docs/predict.md", "python")
    exec(compile(code, "predict.md", "exec"), {"featstore": featstore})  # noqa: S102


def test_finetune(copy: Path) -> None:
    (copy / "featstore.yaml").unlink()
    weights = copy / "weights.safetensors"
    save_file(build_backbone(TINY["FEATSTORE_BUILD_BACKBONE"]).network.state_dict(), weights)
    *commands, last = runnable("docs/finetune.md")
    first = {"FEATSTORE_FINETUNE_WEIGHTS": str(weights)}
    run(commands, **TINY | FINETUNE | PORTFOLIO | first)
    stores = {name.replace("BUILD", "TRAIN"): value for name, value in TINY.items()}
    run([last], **stores | PORTFOLIO)
    assert len(list((copy / "runs").glob("*/split1-seed1/report.html"))) == 1


def test_sweep(copy: Path) -> None:
    (space,) = blocks("docs/sweep.md", "yaml")
    (copy / "space.yaml").write_text(space)
    run(runnable("docs/sweep.md"), FEATSTORE_SWEEP_TRIALS="1", FEATSTORE_SWEEP_DEVICE="cpu")
    assert list((copy / "sweeps").glob("*/final/report.html"))


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in PEOPLE:
        write_dmd(tmp_path / "dmd", number)
    write_hens(tmp_path)
    run(runnable("docs/sources.md"), **TINY)
    assert len(list((tmp_path / "features").glob("*.zarr"))) == 2


TESTED = {
    *("README.md", "docs/training.md", "docs/predict.md", "docs/finetune.md"),
    *("docs/sweep.md", "docs/sources.md"),
}
