from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from featstore.errors import InputError
from pipeline.build.extract import statistics
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.build.plan.normalisation import IMAGENET
from tests.builds import FRAMES, ROWS, options_of, row, silent, write_dataset
from tests.videos import textured, write_images, write_table, write_video


def measured(data: Path, store: Path, **more):
    """Measure through the same door as `featstore stats`."""
    options = options_of(data, store, **more)
    cache = cache_of(store)
    try:
        return statistics.measure(plan_build(options, cache, silent).training_pixels, cache, silent)
    finally:
        cache.close()


def check(found, values: np.ndarray, frames: int) -> None:
    """Compare with numpy on all pixels, shape (pixels, channels), in 0..1."""
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std(axis=0), rtol=1e-9)
    assert (found.pixels, found.frames) == (len(values), frames)


def limited(luma: np.ndarray) -> np.ndarray:
    return np.clip((luma.astype(float) - 16) / 219, 0, 1).reshape(-1, 1)


def full(luma: np.ndarray, most: int = 255) -> np.ndarray:
    return (luma.astype(float) / most).reshape(-1, 1)


def wild(frames: int = 8, seed: int = 5) -> np.ndarray:
    """Pictures with every value, those outside of the limited range too."""
    return np.random.default_rng(seed).integers(0, 256, (frames, 48, 64), np.uint8)


CODINGS = {
    "limited": ({"codec": "ffv1"}, 1, limited),
    "tagged limited": ({"codec": "ffv1", "color_range": 1}, 1, limited),
    "tagged full": ({"codec": "ffv1", "color_range": 2}, 1, full),
    "grey": ({"codec": "ffv1", "pixel_format": "gray"}, 1, full),
    "yuvj": ({"pixel_format": "yuvj420p"}, 1, full),
    "10 bit": ({"codec": "ffv1", "pixel_format": "yuv420p10le"}, 4, lambda y: full(y, 1023)),
    "16 bit": ({"codec": "ffv1", "pixel_format": "gray16le"}, 257, lambda y: full(y, 65535)),
}


def coded(pictures: np.ndarray, coding: str) -> np.ndarray:
    factor = CODINGS[coding][1]
    return pictures if factor == 1 else pictures.astype(np.uint16) * factor


@pytest.mark.parametrize("coding", CODINGS)
def test_luma_equals_numpy(tmp_path: Path, coding: str) -> None:
    pictures = coded(wild(), coding)
    options, _, expected = CODINGS[coding]
    write_video(tmp_path / "a.mkv", pictures, **options)
    write_video(tmp_path / "b.mkv", coded(wild(seed=6), coding), **options)
    rows = [row("a.mkv", 1, 6, "train"), row("b.mkv", 0, 8, "val"), row("b.mkv", 0, 5, "val")]
    rows.append(row("b.mkv", 1, 8, "test"))
    rows[-1]["video"] = "./a.mkv"
    data = write_table(tmp_path / "clips.csv", rows)
    check(measured(data, tmp_path / "features"), expected(pictures[1:6]), 5)


def test_overlapping_clips_count_a_frame_once(tmp_path: Path) -> None:
    pictures = wild(12)
    write_video(tmp_path / "a.mkv", pictures, codec="ffv1")
    spans = [(0, 5), (3, 7), (4, 5), (3, 7), (9, 12)]
    rows = [row("a.mkv", *span, "train", label) for span, label in zip(spans, "aaabb", strict=True)]
    rows[3] |= {"start": 3, "end": 6}
    rows += [row("a.mkv", 0, 2, "val"), row("a.mkv", 2, 4, "test")]
    data = write_table(tmp_path / "clips.csv", rows)
    found = measured(data, tmp_path / "features")
    check(found, limited(pictures[[*range(7), *range(9, 12)]]), 10)
    assert found.clips == 5


def test_sampled_frames_only(tmp_path: Path) -> None:
    pictures = wild(30)
    write_video(tmp_path / "a.mkv", pictures, codec="ffv1", times=[i * 40 for i in range(30)])
    rows = [row("a.mkv", 0, 10, "train"), row("a.mkv", 7, 20, "train")]
    rows += [row("a.mkv", 0, 3, "val"), row("a.mkv", 0, 2, "test")]
    data = write_table(tmp_path / "clips.csv", rows)
    found = measured(data, tmp_path / "features", fps=Fraction(5))
    check(found, limited(pictures[[0, 5, 7, 12, 17]]), 5)


def test_mixed_ranges_and_depths(tmp_path: Path) -> None:
    rows, values = [], []
    for number, (coding, (options, _, expected)) in enumerate(CODINGS.items()):
        pictures = coded(wild(4, seed=number), coding)
        write_video(tmp_path / f"{number}.mkv", pictures, **options)
        rows.append(row(f"{number}.mkv", 0, 4, "train"))
        values.append(expected(pictures))
    images = wild(4, seed=99)[:, :20, :30]
    write_images(tmp_path / "images", images)
    rows += [row("images", 0, 4, "train"), row("0.mkv", 0, 3, "val"), row("0.mkv", 1, 3, "test")]
    data = write_table(tmp_path / "clips.csv", rows)
    check(
        measured(data, tmp_path / "features"),
        np.concatenate([*values, full(images)]),
        4 * (len(CODINGS) + 1),
    )


def test_rgb_equals_numpy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_video(
        tmp_path / "a.mp4", rng.integers(0, 256, (6, 48, 64, 3), np.uint8), options={"qp": "20"}
    )
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    rows = [row("a.mp4", 0, 4, "train"), row("a.mp4", 0, 5, "val"), row("a.mp4", 0, 6, "test")]
    data = write_table(tmp_path / "clips.csv", rows)
    found = measured(data, tmp_path / "features", pixels="rgb")
    check(found, np.stack(frames[:4]).reshape(-1, 3) / 255, 4)


@pytest.mark.parametrize("part", ["val.mkv", "test.avi"])
def test_val_and_test_pixels_have_no_influence(tmp_path: Path, part: str) -> None:
    data = write_dataset(tmp_path / "data")
    before = measured(data, tmp_path / "one")
    write_video(data.parent / part, wild(FRAMES), codec="ffv1" if "mkv" in part else "mpeg4")
    assert measured(data, tmp_path / "two") == before
    write_video(data.parent / "train.mp4", wild(FRAMES))
    assert measured(data, tmp_path / "three") != before


def test_a_frame_of_train_that_val_shares_is_no_leak(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    before = measured(data, tmp_path / "one")
    write_table(data, [*ROWS, row("train.mp4", 0, FRAMES, "val")])
    assert measured(data, tmp_path / "one") == before


def test_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_dataset(tmp_path / "data")
    before = measured(data, tmp_path / "features")
    monkeypatch.setattr(statistics, "decoding", None)
    assert measured(data, tmp_path / "features") == before
    for other in ({"pixels": "rgb"}, {"fps": Fraction(10)}, {"min_frames": 10}):
        with pytest.raises(TypeError):
            measured(data, tmp_path / "features", **other)


def test_frames_that_splits_share_are_decoded_once(tmp_path: Path, counted: list[int]) -> None:
    data = write_dataset(tmp_path)
    swap = {"val": "train", "train": "val", "test": "test"}
    swapped = [{**one, "split": swap[one["split"]]} for one in ROWS]
    more = [{**one, "split": "train", "subject": "of both"} for one in ROWS[:-1]]
    more += [ROWS[-1], row("test.avi", 0, 8, "val")]
    tables = (
        data,
        write_table(tmp_path / "swapped.csv", swapped),
        write_table(tmp_path / "more.csv", more),
    )
    alone = [measured(one, tmp_path / str(number)) for number, one in enumerate(tables)]
    assert sum(counted) == 16 + 17 + (16 + 17)
    counted.clear()
    cache = cache_of(tmp_path / "together")
    try:
        pixels = [
            plan_build(options_of(one, tmp_path / "together"), cache, silent).training_pixels
            for one in tables
        ]
        first = statistics.measure(pixels[0], cache, silent, also=pixels)
        assert sum(counted) == 16 + 17
        assert [first, *(statistics.known_statistics(one, cache) for one in pixels[1:])] == alone
    finally:
        cache.close()


def test_threads_do_not_matter(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    assert measured(data, tmp_path / "one", workers=1) == measured(
        data, tmp_path / "two", workers=4
    )


def test_constant_video_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", np.full((5, 16, 16), 90, np.uint8), codec="ffv1")
    write_video(tmp_path / "b.mkv", textured(5), codec="ffv1")
    rows = [row("a.mkv", 0, 5, "train"), row("b.mkv", 0, 5, "val"), row("b.mkv", 0, 5, "test")]
    rows[2]["end"] = 4
    data = write_table(tmp_path / "clips.csv", rows)
    with pytest.raises(InputError, match="have one value"):
        measured(data, tmp_path / "features")
    fixed = measured(data, tmp_path / "features", normalise="0.4,0.2")
    assert (fixed.mean, fixed.std, fixed.origin) == ((0.4,), (0.2,), "fixed")


def test_fixed_statistics_decode_nothing(tmp_path: Path, monkeypatch) -> None:
    data = write_dataset(tmp_path / "data")
    monkeypatch.setattr(statistics, "decoding", None)
    found = measured(data, tmp_path / "features", normalise="imagenet")
    assert ((found.mean, found.std), found.origin, found.pixels) == (IMAGENET, "imagenet", 0)
