"""A short part of the faults; docs/reliability.md says what many of them came to."""

from pathlib import Path

import pytest

from tests.faults import texts, videos
from tests.faults.__main__ import FAULTS
from tests.faults.outcomes import run_trials, table

pytestmark = pytest.mark.filterwarnings("ignore")
TRIES = {
    "build killed, then resumed": 1,
    "disk full while building, then resumed": 1,
    "folder removed or renamed while building": 1,
    "one bit flipped in a sealed store": 20,
    "damaged video, 12 containers": 40,
    "odd tables and lists": 100,
    "odd recipes and spaces": 60,
    "odd files of runs and exports": 5,
    "odd Zarr metadata, half of them sealed again": 20,
    "odd HDF5 bytes and arrays": 20,
    "crafted files": 6,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all faults, which build and encode what they harm once."""
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize("fault", FAULTS)
def test_every_outcome_is_allowed(home: Path, fault: str) -> None:
    _, do, _ = FAULTS[fault]
    row = run_trials(fault, do, range(TRIES[fault]), home, seed=1, command="")
    assert row.counts.total() == TRIES[fault]
    assert not row.bad


def test_what_is_silently_wrong_is_counted(tmp_path: Path, monkeypatch) -> None:
    """The harness itself: a reader that raises or takes another frame is noticed."""
    monkeypatch.setattr(texts, "load_recipe", lambda path: 1 / 0)
    monkeypatch.setattr(texts, "load_space", lambda path: 1 / 0)
    row = run_trials("recipes", texts.recipes, range(2), tmp_path / "r", seed=0, command="x")
    assert (row.counts["TRACEBACK"], len(row.bad)) == (2, 2)
    assert "| recipes | 2 | TRACEBACK 2 | `x` |" in table([row])
    path, frames = videos.whole(tmp_path, "mp4")
    shifted = {number: frames[min(number + 1, max(frames))] for number in frames}
    assert videos._judged(path, shifted, "").outcome == "SILENTLY WRONG"
    assert videos._judged(path, frames, "").outcome == "equal"
