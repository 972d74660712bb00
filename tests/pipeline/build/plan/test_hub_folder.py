"""Builds of folders in the hub's layout."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featstore
from featstore.errors import InputError
from pipeline.build.plan.hub_folder import folder_options
from tests.builds import silent, write_dataset
from tests.hub_folders import write_folder

NUMBERS = {
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.1],
    "resample": 3,
    "size": {"height": 64, "width": 64},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("hub") / "dinov2", "dinov2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


def built(data: Path, stores: Path, folder: Path, **more: Any) -> featstore.Store:
    options = {"pixels": "luma", "device": "cpu", "backbone": f"hf:{folder}"} | more
    return featstore.build("table", data=data, store=stores, log=silent, **options)


def test_the_key_covers_configuration_and_weights_and_no_path(
    folder: Path, data: Path, tmp_path: Path
) -> None:
    store = built(data, tmp_path / "a", folder)
    features = store.attributes["features"]
    assert features["backbone"] == "hf:dinov2"
    assert (features["size"], features["fit"], features["resample"]) == (32, "crop:36", "bicubic")
    assert features["architecture"]["num_hidden_layers"] == 2
    assert len(features["normalise"]["mean"]) == 3
    assert "transformers" in store.attributes["numerics"]
    assert store.dim == 32

    moved = shutil.copytree(folder, tmp_path / "moved")
    config = json.loads((moved / "config.json").read_text("utf-8"))
    (moved / "config.json").write_text(json.dumps(config | {"transformers_version": "9"}), "utf-8")
    assert built(data, tmp_path / "a", moved).key == store.key
    (moved / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}), "utf-8")
    other = built(data, tmp_path / "a", moved)
    assert other.key != store.key
    assert not np.array_equal(other[0], store[0])

    again = featstore.build(
        "table",
        data=data,
        store=tmp_path / "b",
        log=silent,
        like=store.path,
        weights=folder / "model.safetensors",
    )
    assert all(np.array_equal(again[clip], store[clip]) for clip in range(len(store)))


def test_what_is_given_comes_before_the_folder(folder: Path) -> None:
    options = folder_options(f"hf:{folder}", {"size": 64, "normalise": "split", "weights": "x.pth"})
    assert options.keys() == {"backbone", "architecture", "fit", "resample"}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, (64, "squash", "bicubic", "0.5,0.4,0.3,0.2,0.2,0.1")),
        ({"size": 64, "resample": 2}, (64, "squash", "bilinear", "0.5,0.4,0.3,0.2,0.2,0.1")),
        (
            {"size": 72, "do_center_crop": True, "crop_size": 64, "do_normalize": False},
            (64, "crop:72", "bicubic", "0.0,0.0,0.0,1.0,1.0,1.0"),
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "rescale_factor": 2 / 255},
            (224, "crop:256", "bicubic", "0.25,0.2,0.15,0.1,0.1,0.05"),
        ),
        (
            {
                "size": {"shortest_edge": 384},
                "crop_pct": 0.875,
                "offset": True,
                "rescale_factor": 2 / 255,
            },
            (384, "squash", "bicubic", "0.75,0.7,0.65,0.1,0.1,0.05"),
        ),
    ],
)
def test_numbers_of_processors(tmp_path: Path, numbers: dict[str, Any], expected: Any) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}', "utf-8")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(NUMBERS | numbers), "utf-8")
    options = folder_options(f"hf:{tmp_path}", {"weights": "random"})
    assert tuple(options[name] for name in ("size", "fit", "resample", "normalise")) == expected


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    def refused(words: str, given: dict[str, Any] | None = None) -> None:
        with pytest.raises(InputError, match=words):
            folder_options(f"hf:{tmp_path / 'm'}", given or {})

    refused("is no folder")
    (tmp_path / "m").mkdir()
    config, processor = tmp_path / "m/config.json", tmp_path / "m/preprocessor_config.json"
    refused("config.json is missing")
    config.write_text('{"model_type": "bert"}', "utf-8")
    refused("'bert'.*dinov2")
    config.write_text('{"model_type": "vit"}', "utf-8")
    refused(r"no model\.safetensors")
    random = {"weights": "random"}
    refused("preprocessor_config.json is missing", random)
    for wrong in ({"resample": 1}, {"size": {"height": 3, "width": 4}}, {"do_resize": False}):
        processor.write_text(json.dumps(NUMBERS | wrong), "utf-8")
        refused("give --size, --fit", random)
    processor.write_text("{", "utf-8")
    refused("is not valid", random)


def test_models_and_sizes_that_do_not_fit_are_refused(
    folder: Path, data: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text("utf-8"))
    (broken / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}), "utf-8")
    with pytest.raises(InputError, match=r"missing: encoder\.layer\.2"):
        built(data, tmp_path, broken)
    (broken / "config.json").write_text(json.dumps(config | {"hidden_size": "x"}), "utf-8")
    with pytest.raises(InputError, match="transformers does not accept"):
        built(data, tmp_path, broken)
