"""Clips of real videos: played, and built again from a corrected table."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from flask.testing import FlaskClient

import featstore
from featstore import Store
from pipeline.browse.server import make_app
from tests.builds import ROWS, build, options_of, write_videos
from tests.commands import run
from tests.pipeline.browse.conftest import TOKEN
from tests.reference import luma_frames
from tests.videos import write_table


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("built")
    write_videos(folder / "data")
    table = write_table(folder / "data/clips.csv", ROWS)
    return build(options_of(table, folder / "features"))


@pytest.fixture
def client(built: Store) -> FlaskClient:
    return make_app(Path(built.path).parent, TOKEN).test_client()


def test_the_frames_of_a_clip_are_played(built: Store, client: FlaskClient) -> None:
    for clip, (video, start) in enumerate(zip(built.videos, built.start, strict=True)):
        answer = client.get(f"/{TOKEN}/stores/{built.key}/video/{clip}")
        assert answer.mimetype == "video/mp4"
        with av.open(io.BytesIO(answer.data)) as played:
            frames = [frame.to_ndarray(format="gray") for frame in played.decode(video=0)]
        assert len(frames) == built.stop[clip] - start
        all_frames = luma_frames(Path(built.path).parents[1] / "data" / str(video))
        alike = np.corrcoef([*(f.ravel() for f in frames), *(f.ravel() for f in all_frames)])
        nearest = alike[: len(frames), len(frames) :].argmax(axis=1)
        assert nearest.tolist() == list(range(start, built.stop[clip]))


def test_a_video_that_changed_is_not_shown(built: Store, client: FlaskClient) -> None:
    path = Path(built.path).parents[1] / "data/test.avi"
    content = path.read_bytes()
    clip = built.videos.tolist().index("test.avi")
    path.write_bytes(content + b"more")
    answer = client.get(f"/{TOKEN}/stores/{built.key}/video/{clip}")
    path.write_bytes(content)
    assert answer.status_code == 422
    assert "test.avi" in answer.text


def test_a_corrected_table_is_built_of_copied_rows(built: Store, client: FlaskClient) -> None:
    assert built.label_names[0] == "a"
    written = client.post(f"/{TOKEN}/stores/{built.key}/corrections", json={"0": "b"}).json
    assert written is not None
    assert written["missing"] == []
    result = run(*written["command"].split()[1:], "--workers", "1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert f"copied: {len(built)} clips" in result.output
    again = featstore.open(result.output.split()[-2])
    assert again.key != built.key
    position = {clip: i for i, clip in enumerate(again.clip_ids.tolist())}
    for clip, name in enumerate(built.clip_ids.tolist()):
        other = position[name]
        np.testing.assert_array_equal(again[other], built[clip])
        assert again.label_names[other] == ("b" if clip == 0 else built.label_names[clip])
        assert again.splits[other] == built.splits[clip]
        assert again.subjects[other] == built.subjects[clip]
