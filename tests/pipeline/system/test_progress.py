import sys
import time

import pytest

from pipeline.system.progress import Progress


class Clock:
    """Stands in for `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    return clock


def test_a_plain_line_a_minute(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("extracting", 200, "clips", lines.append) as progress:
        for second in range(1, 181):
            clock.now += 1
            progress.advance(1, frames=24)
            assert len(lines) == second // 60
    assert lines == [
        "extracting: 60 of 200 clips, 24 frames/s, 2 min 20 s left",
        "extracting: 120 of 200 clips, 24 frames/s, 1 min 20 s left",
        "extracting: 180 of 200 clips, 24 frames/s, 20.0 s left",
    ]


def test_nothing_before_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with Progress("extracting", 2, "clips", lines.append) as progress:
        clock.now += 59.9
        progress.advance(2, frames=48)
    assert not lines
    assert capsys.readouterr() == ("", "")


def test_a_line_counts_its_minute_from_the_last_one(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("extracting", 10, "clips", lines.append) as progress:
        for seconds in (90, 59, 1):
            clock.now += seconds
            progress.advance(1, frames=300)
    assert lines == [
        "extracting: 1 of 10 clips, 3 frames/s, 13 min 30 s left",
        "extracting: 3 of 10 clips, 6 frames/s, 5 min 50 s left",
    ]


def test_without_frames_and_without_anything_done(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("hashing", 4, "videos", lines.append) as progress:
        clock.now += 60
        progress.advance(0)
        clock.now += 60
        progress.advance(1)
    assert lines == [
        "hashing: 0 of 4 videos, unknown time left",
        "hashing: 1 of 4 videos, 6 min 0 s left",
    ]
