"""Augmented views: a store for each, computed with one decode."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import featstore
from models.operators import declare_missing_operators
from pipeline.build.plan.augmented_view import AugmentedView
from pipeline.cli import main
from tests import reference
from tests.builds import (
    ROWS,
    build,
    options_of,
    relative_error,
    row,
    silent,
    stop_after,
    write_dataset,
)

declare_missing_operators()
import torchvision  # noqa: E402

PIXELS = {"normalise": "0.4,0.2", "size": 48}


pytestmark = pytest.mark.usefixtures("small_chunks")


def views(data: Path, folder: Path, count: int = 3, **more: Any) -> tuple[featstore.Store, ...]:
    quick: dict[str, Any] = {
        "backbone": "squeezenet1_1", "weights": "random", "size": 32, "pixels": "luma",
        "workers": 1, "device": "cpu", "batch_size": 8,
    }  # fmt: skip
    whole = featstore.build("table", store=folder, data=data, views=count, log=silent,
                            **(quick | more))  # fmt: skip
    return whole.stores


def files(store: featstore.Store) -> dict[str, Any]:
    return dict(store.attributes["seal"]["files"])


def test_the_plain_store_stays_as_it_is_without_views(data: Path, tmp_path: Path) -> None:
    plain, *others = views(data, tmp_path / "views")
    alone = build(options_of(data, tmp_path / "alone"))
    assert plain.key == alone.key
    assert plain.attributes == alone.attributes
    assert files(plain) == files(alone)
    assert [other.attributes["features"]["view"]["number"] for other in others] == [1, 2]
    assert {other.title for other in others} == {plain.title}
    assert ["-view-1-" in others[0].path.name, "-view-2-" in others[1].path.name] == [True] * 2
    assert len({store.key for store in (plain, *others)}) == 3
    assert others[0].attributes["statistics"] == plain.attributes["statistics"]


def test_views_differ_and_more_of_them_leave_the_first_ones(data: Path, tmp_path: Path) -> None:
    few, more = views(data, tmp_path, 2), views(data, tmp_path, 4)
    assert [store.key for store in few] == [store.key for store in more[:2]]
    for clip in range(len(more[0])):
        for number, store in enumerate(more):
            for other in more[:number]:
                assert relative_error(store[clip], other[clip]).min() > 1e-3


@pytest.mark.parametrize("alone", [{"workers": 3}, {"batch_size": 5, "workers": 2}])
def test_order_workers_and_one_decode_change_nothing(
    data: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    _, one, two = views(data, tmp_path / "views")
    for number, store in enumerate((one, two), start=1):
        more = {"view_number": number, **alone}
        again = build(options_of(data, tmp_path / "alone", **more))
        assert again.key == store.key
        for ours, theirs in zip(store, again, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        if "batch_size" not in alone:
            assert files(again) == files(store)


def test_a_resumed_build_has_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as interrupted:
        stop_after(6, interrupted)
        with pytest.raises(KeyboardInterrupt):
            views(data, tmp_path / "a")
    resumed, whole = views(data, tmp_path / "a"), views(data, tmp_path / "b")
    assert [files(store) for store in resumed] == [files(store) for store in whole]


def expected(store: featstore.Store, clip: int, data: Path, view: AugmentedView) -> np.ndarray:
    """The features of a clip's view, by a way that shares no code but the draws."""
    name = str(store.videos[clip])
    luma = reference.luma_frames(data.parent / name)
    unit = luma / 255 if name == "val.mkv" else np.clip((luma - 16.0) / 219, 0, 1)
    (content,) = {key.video for key in store.clip_keys() if key.clip_id == store.clip_ids[clip]}
    change = view.change(content, int(store.start[clip]), int(store.stop[clip]))
    height, width = unit.shape[1:]
    tall, wide = round(height * change.side / 100), round(width * change.side / 100)
    top, left = round(change.top * (height - tall)), round(change.left * (width - wide))
    size, inputs = PIXELS["size"], []
    for pixels in unit[store.start[clip] : store.stop[clip]]:
        square = reference.resized(pixels[top : top + tall, left : left + wide], size, size)
        square = np.clip((square - 0.4) * change.contrast + 0.4 * change.brightness, 0, 1)
        square = square[:, ::-1] if change.flip else square
        inputs.append(torch.from_numpy(np.stack([(square - 0.4) / 0.2] * 3).astype(np.float32)))
    torch.manual_seed(0)
    return reference.features(torchvision.models.get_model("squeezenet1_1", weights=None), inputs)


@pytest.mark.parametrize("flip", [False, True])
def test_a_view_is_the_changed_picture(data: Path, tmp_path: Path, flip: bool) -> None:
    _, one, two = views(data, tmp_path, view_flip=flip, **PIXELS)
    flips = []
    for number, store in enumerate((one, two), start=1):
        view = AugmentedView(number, flip)
        assert store.attributes["features"]["view"]["flip"] is flip
        for clip, key in enumerate(store.clip_keys()):
            rows = expected(store, clip, data, view)
            assert relative_error(store[clip], rows).max() <= 1e-4
            flips.append(view.change(key.video, key.start, key.stop).flip)
    assert any(flips) is flip


@pytest.mark.parametrize("more", [
    {"fit": "pad"}, {"fit": "crop:40"}, {"resample": "bicubic"}, {"pixels": "rgb"},
    {"backbone": "r3d_18", "window": 4, "hop": 2},
])  # fmt: skip
def test_every_kind_of_picture_has_views(data: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    plain, view = views(data, tmp_path, 2, **more)
    alone = build(options_of(data, tmp_path / "alone", view_number=1, **more))
    assert alone.key == view.key
    for clip in range(len(plain)):
        assert np.isfinite(view[clip]).all()
        assert relative_error(view[clip], plain[clip]).min() > 1e-3
        np.testing.assert_allclose(view[clip], alone[clip], rtol=1e-4, atol=1e-5)


def test_a_changed_label_copies_the_rows_of_views(data: Path, tmp_path: Path) -> None:
    fixed = {"normalise": "0.4,0.2"}
    before = views(data, tmp_path / "stores", 2, **fixed)
    relabelled = write_dataset(tmp_path / "data", [*ROWS[:-1], {**ROWS[-1], "label": "b"}])
    lines: list[str] = []
    after = build(
        options_of(relabelled, tmp_path / "stores", view_number=1, **fixed), log=lines.append
    )
    assert any("copied: 5 clips" in line and before[1].path.name in line for line in lines)
    assert all(np.array_equal(a, b) for a, b in zip(after, before[1], strict=True))


def test_like_takes_the_view(data: Path, tmp_path: Path) -> None:
    _, view = views(data, tmp_path, 2, view_flip=True)
    other = write_dataset(tmp_path / "data", [row("test.avi", 2, 9, "test")])
    (store,) = [
        featstore.build("table", store=tmp_path, data=other, like=view.path, log=silent,
                        workers=1, device="cpu")
    ]  # fmt: skip
    assert store.attributes["features"]["view"] == view.attributes["features"]["view"]


def test_the_command_names_the_plain_store_first_and_keeps_it_as_default(
    data: Path, tmp_path: Path
) -> None:
    flags = ["build", "--source", "table", "--data", str(data), "--stores", str(tmp_path)]
    flags += ["--pixels", "luma", "--size", "32", "--device", "cpu", "--workers", "1"]
    flags += ["--backbone", "squeezenet1_1", "--weights", "random"]
    for _ in range(2):
        done = CliRunner().invoke(main, [*flags, "--views", "3"])
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()[-3:]
        assert ["-view-" in line for line in lines] == [False, True, True]
        assert (tmp_path / ".last").read_text("utf-8") == Path(lines[0].split()[0]).name
    dry = CliRunner().invoke(main, [*flags, "--views", "3", "--dry-run"])
    assert dry.stdout.count("features  66 x 512") == 3
    wrong = CliRunner().invoke(main, [*flags, "--views", "0"])
    assert wrong.exit_code == 2
    assert "--views is 0; it must be 1 or more." in wrong.output


def test_workers_on_dask_compute_the_same_views(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    here, there = views(data, tmp_path / "a", 2), views(data, tmp_path / "b", 2, dask="local:2")
    assert [files(store) for store in here] == [files(store) for store in there]
