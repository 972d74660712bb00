"""A decoder that crashes, hangs or lacks memory takes one video, by its name."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.cli import main
from pipeline.video import crashes as crashes_module
from pipeline.video import decode, journal
from pipeline.video import videos as catalogue
from pipeline.video.crashes import crashes
from pipeline.video.decode import DecodeError
from pipeline.video.index import read_index
from pipeline.video.journal import keep_journal
from tests.builds import options_of, plan_of, silent, write_dataset
from tests.videos import luma, textured, write_video

# A process that notes what it does, as a build does, and then does it.
DIES = """
import os, signal, sys, time
from pathlib import Path
from pipeline.video import journal
with journal.keep_journal(Path(sys.argv[1]), print, 1.0):
    with journal.at_work(Path("whole.mp4"), 3):
        pass
    with journal.at_work(Path(sys.argv[2]), 7):
        {}
"""
CRASH = "os.kill(os.getpid(), signal.SIGSEGV)"


def crash(path: Path, frame: int) -> None:
    assert frame == 7
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(path: Path, frame: int) -> None:
    time.sleep(1000)


def lack_memory(path: Path, frame: int) -> None:
    os._exit(crashes_module.NO_MEMORY)


def die(folder: Path, video: Path, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DIES.format(how), str(folder), str(video)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_crash_leaves_the_name_of_the_video(tmp_path: Path) -> None:
    assert die(tmp_path / "j", tmp_path / "a.mp4", CRASH).returncode == -signal.SIGSEGV
    for attempt, word in ((crash, "SIGSEGV"), (lack_memory, "memory")):
        failed = crashes(tmp_path / "j", attempt)
        assert list(failed) == [tmp_path / "a.mp4"]
        assert word in failed[tmp_path / "a.mp4"]
    assert crashes(tmp_path / "j") == {}  # as it is, it is no video, but crashes nothing
    assert not (tmp_path / "j").exists()


def test_a_hang_ends_with_the_name_of_the_video(tmp_path: Path) -> None:
    ended = die(tmp_path / "j", tmp_path / "a.mp4", "time.sleep(1000)")
    assert ended.returncode == 1
    assert str(tmp_path / "a.mp4") in ended.stdout
    failed = crashes(tmp_path / "j", hang, 1.0)
    assert "1 s" in failed[tmp_path / "a.mp4"]


def test_a_video_that_was_only_in_work_is_read(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", textured(10))
    die(tmp_path / "j", video, "os.kill(os.getpid(), signal.SIGKILL)")
    assert crashes(tmp_path / "j") == {}


def test_the_journal_of_a_live_process_is_left_alone(tmp_path: Path) -> None:
    with keep_journal(tmp_path / "j", silent):
        with journal.at_work(tmp_path / "a.mp4", 7):
            assert crashes(tmp_path / "j", crash) == {}
        assert list((tmp_path / "j").iterdir())
    assert not (tmp_path / "j").exists()


def test_the_frame_that_is_due_is_noted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(10))
    index = read_index(path)
    with keep_journal(tmp_path / "j", silent):
        frames = decode.decode(path, index, np.array([2, 5, 8]), "luma")
        for number in (2, 5):
            assert next(frames)[0] == number
        (kept,) = (tmp_path / "j").iterdir()
        with journal.at_work(path, 5):
            assert dict(crashes_module._entries(kept.read_bytes())) == {path: 5}
        assert dict(crashes_module._entries(kept.read_bytes())) == {}


def test_a_build_refuses_the_video_or_fails_its_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_dataset(tmp_path / "data")
    crashed = {tmp_path / "data" / "val.mkv": "its decoder crashed (SIGSEGV)"}
    monkeypatch.setattr(catalogue, "crashes", lambda folder: crashed)
    with pytest.raises(InputError, match=r"val.mkv.*decoder crashed .SIGSEGV."):
        plan_of(options_of(data, tmp_path / "stores"))
    plan = plan_of(options_of(data, tmp_path / "stores", max_failures="50%"))
    lost = [plan.videos[plan.clips[clip].video].name for clip in plan.lost]
    assert lost == ["val.mkv"]


def test_want_of_memory_loses_frames_and_not_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mkv", textured(10))
    index = read_index(path)

    def greedy(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(catalogue, "read_index", greedy)
    _, error = catalogue.read_file(path)
    assert "more memory than there is" in str(error)
    monkeypatch.setattr(decode, "_frames", lambda *_: iter(greedy, None))
    with pytest.raises(DecodeError, match="more memory than there is"):
        luma(path, index, [0])


def test_the_command_keeps_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    real = journal.keep_journal
    monkeypatch.setattr(
        journal, "keep_journal", lambda folder, log: folders.append(folder) or real(folder, log)
    )
    data = write_dataset(tmp_path / "data")
    arguments = ["build", "--source", "table", "--data", str(data), "--weights", "random"]
    with pytest.raises(SystemExit):
        main([*arguments, "--pixels", "luma", "--dry-run", "--stores", str(tmp_path / "stores")])
    assert folders == [tmp_path / "stores" / ".decoding"]
    assert not folders[0].exists()
