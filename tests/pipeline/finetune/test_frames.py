"""The frames that a backbone is finetuned on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.build.extract.preprocess import prepare as prepare_frames
from pipeline.build.extract.statistics import Statistics
from pipeline.build.plan.build_plan import cache_of
from pipeline.build.plan.options import BuildOptions
from pipeline.finetune import frames as frames_module
from pipeline.finetune.frames import Frames, load_frames
from pipeline.finetune.pixels import Pixels
from pipeline.video.decode import Lost, decode, decode_all
from tests.builds import plan_of, silent
from tests.finetunings import CPU, of


def loaded(options: BuildOptions, folder: Path) -> Frames:
    """The frames that a finetuning with these options learns from."""
    statistics = Statistics(mean=(0.45,), std=(0.2,), origin="fixed")
    cache = cache_of(options.store)
    try:
        return load_frames(plan_of(options), statistics, folder, cache, silent)
    finally:
        cache.close()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("pixels", ["luma", "rgb"])
def test_frames_are_those_of_a_build(data: Path, tmp_path: Path, fit, pixels) -> None:
    options = of(data, tmp_path, fit=fit, pixels=pixels, size=36)
    plan, frames = plan_of(options), loaded(options, tmp_path)
    mean, std = [0.45], [0.2]
    clips = [clip for clip in plan.clips if clip.split == "train"]
    clips += [clip for clip in plan.clips if clip.split == "val"]
    assert frames.train == 4
    assert frames.labels.tolist() == ["ab".index(clip.label) for clip in clips]
    assert len(frames.pixels) == 2 * 24 - 4  # of two parts, without those of no clip
    for clip, rows in zip(clips, frames.rows, strict=True):
        video = plan.videos[clip.video]
        wanted = np.arange(clip.start, clip.stop)
        pictures = np.stack([own for _, own in decode(video.path, video.index, wanted, pixels)])
        size = {"size": 36, "fit": fit, "mean": mean, "std": std, "device": CPU}
        expected = prepare_frames(pictures, video.index, **size)
        found = Pixels(mean, std, CPU)(frames.pixels[rows])
        half = 0.5 / 255 / std[0]  # what rounding to bytes takes at most
        assert float((found - expected).abs().max()) < 1.01 * half


def test_frames_are_decoded_once_and_test_never(data: Path, tmp_path: Path, monkeypatch) -> None:
    opened: list[str] = []

    def noting(path: Path, *given: Any) -> Any:
        opened.append(path.name)
        return decode_all(path, *given)

    monkeypatch.setattr(frames_module, "decode_all", noting)
    first = loaded(of(data, tmp_path), tmp_path)
    assert sorted(opened) == ["train.mp4", "val.mp4"]
    again = loaded(of(data, tmp_path), tmp_path)
    assert len(opened) == 2
    assert np.array_equal(first.pixels, again.pixels)
    loaded(of(data, tmp_path, size=40), tmp_path)  # another command takes nothing over
    assert len(opened) == 4
    assert len(list(tmp_path.glob("frames-*[0-9a-f].npy"))) == 1


def test_clips_of_lost_frames_are_left_out(data: Path, tmp_path: Path, monkeypatch) -> None:
    def losing(path: Path, *given: Any) -> Any:
        for found in decode_all(path, *given):
            yield Lost([7], "torn") if path.name == "train.mp4" and found[0] == 7 else found

    monkeypatch.setattr(frames_module, "decode_all", losing)
    with pytest.raises(InputError, match="1 of 12 clips failed"):
        loaded(of(data, tmp_path), tmp_path)
    for _ in range(2):  # decoded, then found
        frames = loaded(of(data, tmp_path, max_failures="1"), tmp_path)
        assert (frames.train, len(frames.rows)) == (3, 7)
        assert frames.labels[:3].tolist() == [0, 1, 1]


def test_splits_of_which_no_val_clip_is_left(data: Path, tmp_path: Path, monkeypatch) -> None:
    def losing(path: Path, index: Any, frames: np.ndarray, *given: Any) -> Any:
        if path.name != "val.mp4":
            yield from decode_all(path, index, frames, *given)
        else:
            yield Lost(frames.tolist(), "torn")

    monkeypatch.setattr(frames_module, "decode_all", losing)
    with pytest.raises(InputError, match="has no val clips"):
        loaded(of(data, tmp_path, max_failures="4"), tmp_path)
