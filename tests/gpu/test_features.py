"""Features of a GPU against the CPU's, in every precision."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from featstore import Store
from featstore.manage.provenance import read_provenance
from tests.builds import build, options_of, relative_error, row
from tests.videos import write_table

# Relative to the norm of a step's features, for networks with random weights. tf32 keeps 10 bits
# of a product's inputs, fp16 as many, bf16 7.
TOLERANCES = {"float32": 1e-3, "tf32": 2e-2, "fp16": 2e-2, "bf16": 1e-1}
SIZES = {"resnet18": 48, "mobilenet_v2": 48, "convnext_tiny": 64, "vit_b_16": 224, "r3d_18": 32}


@pytest.fixture(scope="module")
def few(data: Path) -> Path:
    """A table of a few frames of every video."""
    rows = [row("train.mp4", 1, 9, "train"), row("val.mkv", 12, 20, "val")]
    return write_table(data.parent / "few.csv", [*rows, row("test.avi", 16, 24, "test")])


@pytest.fixture(scope="module")
def expected(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], np.ndarray]:
    """The CPU's rows of a backbone, computed once."""

    @cache
    def expected(backbone: str) -> np.ndarray:
        return rows_of(few, tmp_path_factory.mktemp(backbone), backbone)[0]

    return expected


def rows_of(data: Path, stores: Path, backbone: str, **more: object) -> tuple[np.ndarray, Store]:
    options = {"size": SIZES[backbone], "window": 4, "hop": 1, "normalise": "0.4,0.2"}
    store = build(options_of(data, stores, backbone=backbone, **options, **more))
    return np.concatenate(list(store)), store


def check(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Compare rows; each must also be nearer to its own than to the row of any other step."""
    assert relative_error(found, expected).max() <= tolerance
    distances = np.linalg.norm(found[:, None] - expected[None], axis=2)
    assert (distances.argmin(axis=1) == np.arange(len(found))).all()


def test_float32(
    few: Path, tmp_path: Path, device: torch.device, expected: Callable[[str], np.ndarray]
) -> None:
    more = {"device": str(device), "workers": 4, "batch_size": 5}
    found, store = rows_of(few, tmp_path, "resnet18", **more)
    check(found, expected("resnet18"), TOLERANCES["float32"])
    if device.type == "cuda":
        assert store.attributes["numerics"]["device"] == torch.cuda.get_device_name(device)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("backbone", SIZES)
def test_precisions(
    few: Path,
    tmp_path: Path,
    gpu: torch.device,
    expected: Callable[[str], np.ndarray],
    backbone: str,
    precision: str,
) -> None:
    more = {"device": str(gpu), "precision": precision, "batch_size": None}
    found, store = rows_of(few, tmp_path, backbone, **more)
    check(found, expected(backbone), TOLERANCES[precision])
    size = store.attributes["numerics"]["batch_shape"][0]
    assert size in {2**power for power in range(9)}
    error = read_provenance(store.path).get("precision_error")
    assert (error is None) == (precision == "float32")
    if error is not None:
        assert 0 < error["relative_rms"] <= TOLERANCES[precision]


def test_wrong_rows_are_seen(expected: Callable[[str], np.ndarray]) -> None:
    rows = expected("resnet18")
    with pytest.raises(AssertionError):
        check(np.roll(rows, 1, axis=0), rows, 1.0)
    with pytest.raises(AssertionError):
        check(rows * 1.002, rows, TOLERANCES["float32"])
