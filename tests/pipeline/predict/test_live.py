"""Streams of raw frames: the windows of a recording, as they come."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.errors import InputError
from pipeline import api
from pipeline.predict import stream as streams
from pipeline.predict.stream import Camera, StreamFormat
from tests.builds import silent
from tests.videos import textured, write_video

FRAMES = 75


class Trickle(io.BytesIO):
    """A stream that gives less than is asked for, as a pipe may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 1000))


def live(run, pictures: np.ndarray, form: str = "grey8", **more) -> list[dict]:
    height, width = pictures.shape[1:3]
    options = {"window": 0.4, "hop": 0.2, "device": "cpu", "log": silent} | more
    stream = Trickle(pictures.tobytes())
    return list(api.predict_live(run.path, stream, frames=f"{width}x{height}@30:{form}", **options))


@pytest.mark.parametrize("standardise", ["none", "train", "clip", "causal"])
@pytest.mark.parametrize("window", [0.4, 0.75])
def test_windows_of_a_stream_are_those_of_the_recording(
    made, tmp_path, standardise: str, window: float
) -> None:
    pictures = textured(FRAMES, seed=5)
    write_video(tmp_path / "a.mkv", pictures, codec="ffv1", pixel_format="gray")
    run = made.run(standardise)
    recorded = featstore.predict(
        run,
        tmp_path / "a.mkv",
        out=tmp_path / "out",
        window=window,
        hop=0.2,
        pictures=False,
        device="cpu",
        log=silent,
    ).windows()
    found = live(run, pictures, window=window)
    whole = [row for row in recorded if row["end"] <= found[-1]["end"] + 1e-3]
    assert len(found) == len(whole) >= 9
    for one, row in zip(found, whole, strict=True):
        assert (one["start"], one["end"]) == pytest.approx((row["start"], row["end"]), abs=1e-3)
        for name, value in one["probabilities"].items():
            assert value == pytest.approx(row[f"p:{name}"], abs=1e-5)
        assert one["delay"] >= 0


def test_grey_in_three_bytes_is_the_same(made) -> None:
    pictures = textured(30, seed=6)
    plain, colour = live(made.run(), pictures), live(made.run(), np.stack([pictures] * 3, -1),
                                                     "rgb24")  # fmt: skip
    for one, other in zip(plain, colour, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=0.01)


@pytest.mark.parametrize("standardise", ["recording", "subject"])
def test_what_needs_the_whole_recording_is_refused(made, standardise: str) -> None:
    with pytest.raises(InputError, match=rf"standardised.*{standardise}"):
        live(made.run(standardise), textured(30))


def test_a_stream_that_ends_within_a_frame(made) -> None:
    cut = io.BytesIO(textured(20, seed=1).tobytes()[:-100])
    found = api.predict_live(
        made.run().path, cut, frames="64x48@30:grey8", window=0.4, hop=0.2, device="cpu", log=silent
    )
    assert next(found)["end"] == 0.4
    with pytest.raises(InputError, match=r"19, after 2972 of 3072 bytes"):
        list(found)


@pytest.mark.parametrize(
    "text", ["", "64x48", "64x48@30", "64x48@30:bgr", "0x4@30:grey8", "4x4@0:grey8"]
)
def test_formats_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--frames is"):
        StreamFormat.parse(text, raw=True)


def test_too_few_frames_a_second(made) -> None:
    with pytest.raises(InputError, match=r"has 10 frames a second, and .* samples 15"):
        list(api.predict_live(made.run().path, io.BytesIO(), frames="64x48@10:grey8", log=silent))


def drawn(rate: int = 30, seconds: int = 2) -> str:
    """The name of a camera that FFmpeg draws."""
    return f"testsrc2=size=64x48:rate={rate}:duration={seconds},format=gray"


def test_a_camera_has_the_windows_of_its_frames(made) -> None:
    options = {"window": 0.4, "hop": 0.2, "device": "cpu", "log": silent}
    run = made.run("causal")
    found = list(api.predict_live(run.path, drawn(), camera="lavfi", **options))
    frames = Camera(drawn(), "lavfi")
    assert (frames.fps, frames.index.width, frames.index.pixel_range) == (30, 64, "full")
    pictures = np.stack([frame.picture.to_ndarray() for frame in frames])
    expected = live(run, pictures)
    assert len(found) == len(expected) == 9
    for one, other in zip(found, expected, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_frames_that_a_camera_skips_move_no_other(made, monkeypatch) -> None:
    run = made.run("none")
    whole = list(Camera(drawn(), "lavfi"))
    options = {"window": 0.4, "hop": 0.2, "device": "cpu", "log": silent, "camera": "lavfi"}
    everything = list(api.predict_live(run.path, drawn(), **options))
    assert [frame.number for frame in whole] == list(range(60))
    plain = Camera.__iter__
    monkeypatch.setattr(
        streams.Camera,
        "__iter__",
        lambda self: (frame for frame in plain(self) if not 13 <= frame.number < 36),
    )
    found = list(api.predict_live(run.path, drawn(), **options))
    starts = [one["start"] for one in found]
    # Windows in the pause have no frames; those around it have fewer.
    assert starts == pytest.approx([0, 0.2, 0.4, 1.0, 1.2, 1.4, 1.6])
    for one in found:
        if one["start"] in (0.0, 1.2, 1.4, 1.6):
            (same,) = (each for each in everything if each["start"] == one["start"])
            assert one["probability"] == pytest.approx(same["probability"], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("/dev/nothing", "v4l2", "/dev/nothing cannot be opened as a camera of kind v4l2"),
        ("/dev/nothing", "nokia", "of kind nokia"),
    ],
)
def test_cameras_that_are_not_there(name: str, kind: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Camera(name, kind)


def test_the_command_tells_a_camera_from_a_file(made) -> None:
    from click.testing import CliRunner

    from pipeline.cli import main

    flags = ["--window", "0.4", "--device", "cpu"]
    command = ["predict", str(made.run().path)]
    done = CliRunner().invoke(main, [*command, drawn(), "--camera", "lavfi", *flags])
    assert done.exit_code == 0, done.output
    assert "0.000 to 0.400 s" in done.stdout
    for given, said in [
        (["/dev/null"], "/dev/null cannot be opened as a camera"),
        (["-"], "Raw frames need their format"),
        (["a.mp4", "--frames", "64x48@30"], "are for one stream"),
        (["-", "--camera", "v4l2"], "are for one stream"),
        (["-", "--overlay", "--smooth", "none"], "--smooth, --overlay: a stream prints"),
    ]:
        done = CliRunner().invoke(main, [*command, *given, *flags])
        assert done.exit_code != 0
        assert said in done.output


def test_the_command_prints_lines_while_the_pipe_is_open(made) -> None:
    command = ["predict", str(made.run().path), "-", "--frames", "64x48@30:grey8", "--json"]
    code = "import sys; from pipeline.cli import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, *command, "--window", "0.4", "--device", "cpu"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(textured(12, seed=2).tobytes())
        process.stdin.flush()
        first = json.loads(process.stdout.readline())  # before the stream ends
        assert (first["start"], first["end"]) == (0.0, 0.4)
        process.stdin.close()
        assert process.wait() == 0
        process.stderr.read()
