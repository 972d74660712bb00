"""A run on a small drawn set, and its videos."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

import featstore
from tests.builds import row, silent, write_videos
from tests.videos import write_table

FEATURES: dict[str, Any] = {
    "backbone": "squeezenet1_1",
    "weights": "random",
    "size": 32,
    "pixels": "luma",
}
ROWS = [
    row("train.mp4", 0, 12, "train"),
    row("train.mp4", 4, 16, "train", "b"),
    row("train.mp4", 12, 24, "train"),
    row("val.mkv", 3, 20, "val", "b"),
    row("test.avi", 0, 12, "test"),
    row("test.avi", 6, 18, "test", "b"),
    row("test.avi", 3, 24, "test", "b"),
]


class Made(NamedTuple):
    """A folder of videos, the table of their clips, a store and a folder for runs."""

    data: Path
    table: Path
    store: featstore.Store
    runs: Path

    def run(self, standardise: str = "none", *more: tuple[str, Any], recipe: str = "linear"):
        """Train once for each way to standardise."""
        name = "-".join([recipe, standardise, *(str(value) for _, value in more)])
        out = self.runs / name
        if out.exists():
            return featstore.Run(out)
        fields = {"train.epochs": 1, "data.standardise": standardise, **dict(more)}
        return featstore.train(self.store, recipe, out=out, set=fields, log=silent)


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("predict")
    write_videos(folder / "data")
    table = write_table(folder / "data/clips.csv", ROWS)
    store = featstore.build(
        "table",
        data=table,
        store=folder / "features",
        fps=15,
        workers=1,
        device="cpu",
        log=silent,
        **FEATURES,
    )
    return Made(folder / "data", table, store, folder / "runs")
