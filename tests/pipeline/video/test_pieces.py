import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.video import pieces as module
from pipeline.video.images import index_images
from pipeline.video.index import empty_index, read_index
from pipeline.video.pieces import pieces
from tests.videos import KINDS, luma, textured, write_images, write_video


@pytest.mark.parametrize("seed", range(20))
def test_pieces_are_all_frames_cut_behind_key_frames(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    most, worth = int(rng.integers(1, 20)), int(rng.integers(1, 40))
    monkeypatch.setattr(module, "PIECE_FRAMES", most)
    monkeypatch.setattr(module, "WORTH_A_SEEK", worth)
    keys = np.unique([0, *rng.choice(500, rng.integers(1, 60))])
    frames = np.flatnonzero(rng.random(500) < rng.choice([0.02, 0.2, 0.9]))
    found = pieces(replace(empty_index(), keys=keys), frames)
    np.testing.assert_array_equal(np.concatenate(found), frames)
    for one, following in itertools.pairwise(found):
        # What the second one has to decode begins behind all that the first one decodes.
        key = keys[keys <= following[0]].max()
        assert key > one[-1]
        assert len(one) >= most or key - one[-1] > worth
    for one in found:
        for before, after in itertools.pairwise(one):
            key = keys[keys <= after].max()
            assert key - before <= worth or key <= before
        inner = [keys[keys <= after].max() > before for before, after in itertools.pairwise(one)]
        assert not any(inner[most - 1 :])


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_decode_to_the_same_pictures(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_FRAMES", 3)
    name, options = KINDS[kind]
    path = write_video(tmp_path / name, textured(30), **options)
    index = read_index(path)
    frames = np.arange(1, 30, 2)
    cut = pieces(index, frames)
    assert len(cut) > 1 or len(index.keys) < 2
    whole = luma(path, index, frames.tolist())
    found = {
        number: picture
        for piece in cut
        for number, picture in luma(path, index, piece.tolist()).items()
    }
    assert list(found) == list(whole)
    for number, picture in found.items():
        np.testing.assert_array_equal(picture, whole[number])


def test_images_are_cut_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_FRAMES", 4)
    index = index_images(write_images(tmp_path / "images", textured(10)), None)
    assert [len(piece) for piece in pieces(index, np.arange(10))] == [4, 4, 2]
