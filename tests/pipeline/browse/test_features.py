"""Neighbours, maps and label errors, against plain computations."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import featstore
from featstore import Store
from featstore.errors import InputError
from pipeline.browse import features as module
from pipeline.browse.features import NEIGHBOURS, Features
from tests.pipeline.browse.conftest import CLIPS, PLANTED, write_clips
from tests.stores import write_store


def test_neighbours_are_those_of_scikit_learn(browsed: Store) -> None:
    clips = browsed.usable
    means = np.stack([browsed[clip].mean(axis=0) for clip in clips])
    means -= means.mean(axis=0)
    search = NearestNeighbors(n_neighbors=NEIGHBOURS + 1, metric="cosine").fit(means)
    distances, order = search.kneighbors(means[:5])
    features = Features(browsed)
    for row, clip in enumerate(clips[:5].tolist()):
        near = features.neighbours(clip)
        assert [other for other, _ in near] == clips[order[row, 1:]].tolist()
        np.testing.assert_allclose([c for _, c in near], 1 - distances[row, 1:], atol=1e-3)
    assert features.neighbours(3) == []  # failed in the build


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_map_separates_classes(
    browsed: Store, method: module.Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAPPED", 40)
    clips, points = Features(browsed).map(method)
    assert len(clips) == (40 if method == "tsne" else CLIPS - 1)
    assert 3 not in clips
    assert points.min() == 0
    assert points.max() == 1
    true = clips % 2
    near = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[1][:, 1]
    assert (true[near] == true).mean() > 0.9


def test_planted_label_errors_come_first(browsed: Store) -> None:
    found = Features(browsed).label_errors()
    assert sorted(found["clips"][: len(PLANTED)]) == PLANTED
    assert found["suggested"][: len(PLANTED)] == [clip % 2 for clip in found["clips"][:3]]
    assert found["margin"] == sorted(found["margin"])
    assert (found["judged"], found["folds"]) == (CLIPS - 1, 5)


def test_few_clips_and_few_subjects(tmp_path: Path) -> None:
    small = Features(featstore.open(write_store(tmp_path / "s.zarr")))
    for method in ("pca", "tsne"):
        assert small.map(method)[1].shape == (5, 2)
    assert len(small.neighbours(0)) == 4
    assert set(small.label_errors()["clips"]) <= set(range(5))
    alone = Features(featstore.open(write_clips(tmp_path / "a.zarr", subjects_known=False)))
    with pytest.raises(InputError, match="two subjects"):  # one video
        alone.label_errors()
