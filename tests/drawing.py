"""Trainings and sweeps that draw nothing: figures take twenty times as long as a small training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.sweep import report
from pipeline.train import results

DRAWN = [(results, "draw_figures"), (report, "history"), (report, "importance_of")]
REAL = [getattr(module, name) for module, name in DRAWN]


class _NoFigure:
    def savefig(self, path: Path, **more: Any) -> None:
        pass


def _no_folder(folder: Path, *given: Any) -> None:
    folder.mkdir()


def _no_figure(*given: Any) -> _NoFigure:
    return _NoFigure()


@contextmanager
def figures(*, drawn: bool) -> Iterator[None]:
    """Draw the figures of runs and sweeps, or leave them out."""
    instead = REAL if drawn else [_no_folder, _no_figure, _no_figure]
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), draw in zip(DRAWN, instead, strict=True):
            patch.setattr(module, name, draw)
        yield
