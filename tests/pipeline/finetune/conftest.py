"""Videos, and weights that were finetuned on them, for all tests of the folder."""

from pathlib import Path

import pytest

from pipeline.finetune import finetune
from tests.builds import silent
from tests.finetunings import QUICK, of, write_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("finetune") / "data")


@pytest.fixture(scope="session")
def tuned(data: Path) -> Path:
    """Weights that were finetuned without a break."""
    return finetune(
        of(data, data.parent.parent / "features"),
        QUICK,
        out=data.parent.parent / "tuned.safetensors",
        log=silent,
    )
