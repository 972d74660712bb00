"""Runs that were trained on several stores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featstore
from featstore.errors import InputError
from pipeline import api
from pipeline.deploy.export import export_model
from pipeline.train.evaluate import rescore
from tests.builds import silent
from tests.pipeline.predict.conftest import FEATURES, ROWS
from tests.videos import textured, write_table, write_video

LINEAR = {"train.epochs": 1, "data.standardise": "causal"}


def other_store(made, name: str, **more: Any) -> featstore.Store:
    options = {**FEATURES, "fps": 15, "weights": "random:1", "size": 48, **more}
    return featstore.build(
        "table", store=made.runs / name, workers=1, device="cpu", log=silent,
        **{"data": made.table, **options},
    )  # fmt: skip


def trained(made, other: featstore.Store, out: Path, **more: Any) -> Path:
    both = featstore.fuse([made.store, other])
    return featstore.train(both, "linear", out=out, set=LINEAR | more, log=silent).path


@pytest.fixture(scope="module")
def backbones(made) -> featstore.Store:
    return other_store(made, "other")


@pytest.mark.parametrize("fusion", ["concat", "logits"])
def test_two_backbones_have_the_probabilities_of_stage_two(
    made, backbones, tmp_path, fusion: str
) -> None:
    run = trained(made, backbones, tmp_path / "run", **{"data.fusion": fusion})
    found = featstore.predict(
        run, made.table, out=tmp_path / "out", intervals=True, pictures=False, log=silent
    )
    rows = {(r["recording"], r["start_frame"], r["end_frame"]): r for r in found.windows()}
    both = featstore.fuse([made.store, backbones])
    expected = rescore(run, both, "test")
    for clip, logs in zip(expected.clips, expected.log_probabilities, strict=True):
        one = rows[both.videos[clip], both.start[clip], both.stop[clip]]
        probabilities = [one[f"p:{name}"] for name in both.classes]
        np.testing.assert_allclose(probabilities, np.exp(logs), atol=2e-6)
    stores = [made.store.path, backbones.path]
    clips = {one["clip"]: one for one in featstore.predict(
        run, stores, out=tmp_path / "clips", log=silent
    ).clips()}  # fmt: skip
    for clip, best in zip(expected.clips, expected.log_probabilities.argmax(axis=1), strict=True):
        assert clips[both.clip_ids[clip]]["prediction"] == both.classes[best]


def test_what_one_recording_or_one_backbone_cannot_do_is_one_sentence(
    made, backbones, tmp_path
) -> None:
    run = trained(made, backbones, tmp_path / "run")
    video = made.data / "test.avi"
    with pytest.raises(InputError, match="trained on 2 stores but got 1 --weights"):
        featstore.predict(run, video, out=tmp_path / "out", weights=["random:1"], log=silent)
    with pytest.raises(InputError, match="a stream is predicted by one"):
        list(api.predict_live(run, "testsrc", camera="lavfi", log=silent))
    with pytest.raises(InputError, match="one backbone is exported"):
        export_model(run, tmp_path / "model", video, window=None, weights=None, log=silent)
    sparse = trained(made, other_store(made, "sparse", fps=5), tmp_path / "sparse")
    with pytest.raises(InputError, match="--fps 15; --fps 5"):
        featstore.predict(sparse, video, out=tmp_path / "out", log=silent)


def test_views_are_one_sentence(made, tmp_path) -> None:
    rows = []
    for one in ROWS:
        stem = Path(one["video"]).stem
        name = f"view-{stem}.mkv"
        if not (tmp_path / name).exists():
            write_video(tmp_path / name, textured(24, seed=len(rows)), codec="ffv1")
        rows.append({**one, "video": name, "clip_id": f"{stem}#{one['start']}-{one['end']}"})
    view = other_store(made, "view", data=write_table(tmp_path / "view.csv", rows))
    run = trained(made, view, tmp_path / "run")
    with pytest.raises(InputError, match=r"stores of different videos, .* train on one view"):
        featstore.predict(run, made.data / "test.avi", out=tmp_path / "out", log=silent)
