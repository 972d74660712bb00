"""Exported models say what the run says, in other programs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

import featstore
from featstore.errors import InputError
from models.heads import HEADS, build_head
from pipeline.build.extract.preprocess import fit_square
from pipeline.build.plan.fit import fitted_size
from pipeline.cli import main
from pipeline.deploy.export import TOLERANCE, export_model
from pipeline.deploy.modules import resizing
from pipeline.train.recipes.load import load_recipe
from tests.builds import silent, write_dataset
from tests.folders import DOCS
from tests.videos import textured, write_video

pytest.importorskip("onnxruntime")
LENGTH = 0.4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> featstore.Store:
    folder = tmp_path_factory.mktemp("deploy")
    return featstore.build(
        "table",
        data=write_dataset(folder / "data"),
        store=folder / "features",
        backbone="squeezenet1_1",
        weights="random",
        size=32,
        pixels="luma",
        fps=15,
        workers=1,
        device="cpu",
        log=silent,
    )


def run_of(store: featstore.Store, out: Path, recipe: str, **more: Any) -> Path:
    fields = {"train.epochs": 1, "data.standardise": "none"} | more
    return featstore.train(store, recipe, out=out, set=fields, log=silent).path


@pytest.fixture(scope="module")
def exported(store, tmp_path_factory) -> tuple[Path, Path, dict[str, Any]]:
    """A run, the folder of its models, and what the export said."""
    folder = tmp_path_factory.mktemp("exported")
    run = run_of(store, folder / "run", "bilstm", **{"data.standardise": "train"})
    video = Path(store.path).parents[1] / "data/test.avi"
    return run, folder / "out", export_model(run, folder / "out", video, window=LENGTH, log=silent)


def test_every_model_is_the_run_on_real_windows(exported) -> None:
    _, out, facts = exported
    assert set(facts["difference"]) == {"head.pt2", "head.onnx", "model.pt2", "model.onnx"}
    assert max(facts["difference"].values()) <= TOLERANCE
    assert facts["windows"] == 3
    assert {path.name for path in out.iterdir()} == {
        *facts["difference"],
        "metadata.json",
        "README.md",
    }


def test_metadata_and_card(exported, store) -> None:
    import onnxruntime

    run, out, _ = exported
    metadata = json.loads((out / "metadata.json").read_text())
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    inside = json.loads(session.get_modelmeta().custom_metadata_map["featstore"])
    assert inside == {key: value for key, value in metadata.items() if key != "difference"}
    assert metadata["classes"] == list(store.classes)
    assert metadata["frames"]["frames"] == metadata["steps"] == 6
    assert session.get_inputs()[0].shape == [6, 48, 64]
    card = (out / "README.md").read_text()
    metrics = featstore.Run(run).metrics
    assert f"{100 * metrics['test']['top1']:.1f} %" in card
    assert "Licence of the training data: **to be filled in**" in card
    assert "The backbone's weights are random" in card
    assert "95 % intervals over clips of the same people" in card  # test has one subject
    assert "Test has 1 subject, too few" in card


def test_the_example_script_gives_the_windows_of_predict(exported, store, tmp_path) -> None:
    run, out, _ = exported
    video = tmp_path / "new.mp4"
    write_video(video, textured(60, seed=8))
    command = [sys.executable, DOCS / "run_onnx.py", out / "model.onnx", video]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    found = featstore.predict(
        run, video, out=tmp_path / "p", window=LENGTH, hop=LENGTH, pictures=False, log=silent
    ).windows()
    assert len(rows) == len(found) == 5
    for (start, label, probability), row in zip(rows, found, strict=True):
        assert float(start) == pytest.approx(row["start"], abs=1e-3)
        assert label == row["label"]
        assert float(probability) == pytest.approx(row["probability"], abs=TOLERANCE)


@pytest.mark.parametrize(("recipe", "how"), [("tcn", "clip"), ("nearest_class_mean", "none")])
def test_other_heads(store, tmp_path, recipe: str, how: str) -> None:
    run = run_of(store, tmp_path / "run", recipe, **{"data.standardise": how})
    video = Path(store.path).parents[1] / "data/test.avi"
    facts = export_model(run, tmp_path / "out", video, window=LENGTH, log=silent)
    assert max(facts["difference"].values()) <= TOLERANCE


def test_a_mean_of_recipes(store, tmp_path) -> None:
    names = ("tcn", "nearest_neighbours", "attentive")
    first, *others = (load_recipe(name, ["data.standardise=none"]).model_dump() for name in names)
    (tmp_path / "mean.yaml").write_text(yaml.safe_dump(first | {"mean_with": others}))
    run = run_of(store, tmp_path / "run", str(tmp_path / "mean.yaml"))
    video = Path(store.path).parents[1] / "data/test.avi"
    facts = export_model(run, tmp_path / "out", video, window=LENGTH, log=silent)
    assert max(facts["difference"].values()) <= TOLERANCE


@pytest.mark.parametrize("kind", HEADS)
def test_reading_whole_clips_is_reading_with_a_full_mask(kind: str) -> None:
    torch.manual_seed(0)
    head = build_head(features=8, classes=3, kind=kind).eval()
    if not head.learns:
        head.remember(torch.randn(6, 8), torch.arange(6) % 3)
    steps = torch.randn(2, 5, 8)
    with torch.inference_mode():
        expected = head(steps, torch.ones(2, 5, dtype=torch.bool)).logits
        torch.testing.assert_close(head.read_whole(steps).logits, expected)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["squash", "crop", "crop:40", "pad"])
@pytest.mark.parametrize("size", [(48, 64), (100, 30)])
def test_matrices_resize_as_builds_do(fit, resample, size: tuple[int, int]) -> None:
    values = torch.rand(2, 1, *size) * 255
    tall, wide = fitted_size(*size, 32, fit)
    down, across = resizing(size[0], tall, resample), resizing(size[1], wide, resample)
    found = down @ values @ across.T
    expected = fit_square(values, 32, fit, resample)
    if fit.startswith("crop"):
        top, left = (tall - 32) // 2, (wide - 32) // 2
        found = found[..., top : top + 32, left : left + 32]
    whole = expected[expected.isfinite()]
    np.testing.assert_allclose(found.flatten(), whole, atol=1e-3)


def test_what_one_window_does_not_tell_is_refused(store, tmp_path) -> None:
    run = run_of(store, tmp_path / "run", "linear", **{"data.standardise": "recording"})
    video = Path(store.path).parents[1] / "data/test.avi"
    with pytest.raises(InputError, match="standardised by recording, which one window"):
        export_model(run, tmp_path / "out", video, window=LENGTH, log=silent)
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_a_folder_that_is_taken(exported) -> None:
    run, out, _ = exported
    video = Path(featstore.Run(run).path.parent) / "run" / "config.yaml"
    done = CliRunner().invoke(main, ["export-model", str(run), str(out), "--video", str(video)])
    assert done.exit_code == 2
    assert "is not an empty folder" in done.output
