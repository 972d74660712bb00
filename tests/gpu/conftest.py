"""Every test here runs on a GPU, and on the CPU too where that tells whether the test works.

Without a GPU, `pytest` skips the first; ``pytest -m gpu tests/gpu`` runs nothing else.
"""

from pathlib import Path

import pytest
import torch

from pipeline.system.device import choose_device
from tests.builds import write_dataset

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(params=[pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_GPU]), "cpu"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """A GPU, or the CPU."""
    return choose_device(request.param)


@pytest.fixture(params=[pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_GPU])])
def gpu(request: pytest.FixtureRequest) -> torch.device:
    """A GPU, for tests that tell nothing on a CPU."""
    return choose_device(request.param)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))
