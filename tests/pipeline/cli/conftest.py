"""A small data set in the working folder, and the folder in which the tutorial ran."""

from functools import partial
from pathlib import Path

import pytest

from pipeline.demo import draw
from pipeline.demo.film import film_all
from tests.builds import write_dataset
from tests.drawing import figures
from tests.pages import run, runnable


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_dataset(tmp_path / "data").relative_to(tmp_path)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tutorial ran, with a data set whose pictures stand still."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch, figures(drawn=False):
        patch.chdir(folder)
        patch.setattr(draw, "film_all", partial(film_all, hold=90))
        run(runnable("docs/tutorial.md"))
    return folder
