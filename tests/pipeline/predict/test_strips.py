"""Frames of a run's clips: the right ones, and a reason where there are none."""

import base64
import io
import re
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.predict import strips
from pipeline.predict.strips import FRAMES, HEIGHT, draw_strips
from pipeline.report.html_strips import UNASKED, Strip
from pipeline.report.run import report
from pipeline.runs.files import read_metrics
from pipeline.train import redraw
from pipeline.train.evaluate import classify
from pipeline.video.decode import Lost
from pipeline.video.find import GONE
from tests.builds import silent


@pytest.fixture(scope="module")
def run(made) -> Path:
    return made.run(recipe="attentive").path


def clips_of(made, part: str) -> list[str]:
    return made.store.clip_ids[made.store.split(part)].tolist()


def test_the_frames_of_the_steps_and_their_attention(made, run: Path) -> None:
    for part, video in (("test", "test.avi"), ("val", "val.mkv")):
        drawn = draw_strips(run, clips_of(made, part), videos=None, log=silent)
        with av.open(str(made.data / video)) as container:
            planes = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        weights = classify(run, made.store, made.store.split(part)).attention
        assert weights is not None
        for clip, weight in zip(made.store.split(part), weights, strict=True):
            strip = drawn[made.store.clip_ids[clip]]
            assert isinstance(strip, Strip)
            size = int(made.store.row_size[clip])
            assert (strip.frames, strip.missing) == (min(FRAMES, size), 0)
            image = Image.open(io.BytesIO(strip.jpeg))
            assert image.size == (strip.width, strip.height)
            assert image.height == HEIGHT
            tiles = np.split(np.asarray(image.convert("L"), float), strip.frames, axis=1)
            steps = [int((n + 0.5) * size / strip.frames) for n in range(strip.frames)]
            for tile, number in zip(tiles, made.store.frames(clip)[steps], strict=True):
                shape = (tile.shape[1], HEIGHT)
                alike = [
                    np.corrcoef(tile.ravel(), np.ravel(Image.fromarray(plane).resize(shape)))[0, 1]
                    for plane in planes
                ]  # whatever the stretch
                assert int(np.argmax(alike)) == number
            np.testing.assert_allclose(strip.attention, weight * len(weight), rtol=1e-5)
            assert strip.begin >= made.store.times(clip)[0]
            assert strip.end <= made.store.times(clip)[-1]


def test_figures_are_drawn_again_with_the_same_predictions_and_attention(
    made, run: Path, monkeypatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(redraw, "draw_figures", lambda *given: seen.update(enumerate(given)))
    redraw.redraw(run, "pdf", log=silent)
    folder, classes, monitor, history, predictions, temperature, store, kind = seen.values()
    assert (folder, kind, store.key) == (run / "figures", "pdf", made.store.key)
    metrics = read_metrics(run)
    assert (list(classes), monitor) == (list(made.store.classes), metrics["monitor"])
    assert temperature == metrics["calibration"]["temperature"]
    assert [row["epoch"] for row in history] == [1]
    for part in ("val", "test"):
        expected = classify(run, made.store, made.store.split(part))
        found = predictions[part]
        np.testing.assert_allclose(found.log_probabilities, expected.log_probabilities, atol=1e-6)
        assert found.labels.tolist() == expected.labels.tolist()
    val = classify(run, made.store, made.store.split("val"))
    assert predictions["val"].clips.tolist() == val.clips.tolist()
    for one, other in zip(predictions["val"].attention, val.attention or [], strict=True):
        np.testing.assert_array_equal(one, other)


def test_moved_videos_are_found_where_they_are_said_to_be(made, run: Path) -> None:
    clips, moved = clips_of(made, "test"), made.data.with_name("moved")
    made.data.rename(moved)
    try:
        assert set(draw_strips(run, clips, videos=None, log=silent).values()) == {GONE}
        found = draw_strips(run, clips, videos=moved, log=silent)
        assert all(isinstance(strip, Strip) for strip in found.values())
        video = moved / "test.avi"
        content = video.read_bytes()
        video.write_bytes((moved / "train.mp4").read_bytes())
        assert set(draw_strips(run, clips, videos=moved, log=silent).values()) == {GONE}
        video.write_bytes(content)
    finally:
        moved.rename(made.data)


def test_frames_that_do_not_decode_are_grey_or_a_reason(made, run: Path, monkeypatch) -> None:
    clip = clips_of(made, "test")[0]
    real = strips.decode_all

    def some(path, index, frames, mode):
        yield Lost([int(frames[0])], "its data are corrupt")
        yield from list(real(path, index, frames, mode))[1:]

    def none(path, index, frames, mode):
        yield Lost(frames.tolist(), "its data are corrupt")

    monkeypatch.setattr(strips, "decode_all", some)
    strip = draw_strips(run, [clip], videos=None, log=silent)[clip]
    assert isinstance(strip, Strip)
    assert strip.missing == 1
    monkeypatch.setattr(strips, "decode_all", none)
    drawn = draw_strips(run, [clip, "unknown"], videos=None, log=silent)
    assert drawn[clip] == "its frames do not decode: its data are corrupt"
    assert drawn["unknown"] == "the store no longer has this clip"


def test_the_page_has_them_and_says_where_it_has_none(made, run: Path) -> None:
    page = run / "report.html"
    assert UNASKED in page.read_text("utf-8")
    report(run, partial(draw_strips, run, videos=None, log=silent))
    text = page.read_text("utf-8")
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', text)
    assert len(pictures) >= 2  # at least one of each class
    assert all(Image.open(io.BytesIO(base64.b64decode(one))).format == "JPEG" for one in pictures)
    assert text.count('class="attention"') == len(pictures)
    assert UNASKED not in text
    path = made.store.path
    path.rename(path.with_name("elsewhere"))
    try:
        report(run, partial(draw_strips, run, videos=None, log=silent))
    finally:
        path.with_name("elsewhere").rename(path)
    assert "the run&#x27;s own store is no longer at" in page.read_text("utf-8")
