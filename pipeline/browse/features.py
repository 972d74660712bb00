"""What the page computes of a store's features: neighbours, maps and likely label errors.

A clip is represented by the mean of its steps, minus the mean of all clips, scaled to length 1, as
in `pipeline.train.baselines`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from featstore.errors import InputError
from featstore.format.schema import UNLABELLED
from featstore.reading.store import Store
from pipeline.metrics.label_errors import label_errors
from pipeline.types import Clips, Floats, Floats32, Ints

NEIGHBOURS = 12
MAPPED = 2000  # clips that t-SNE arranges; its time grows faster than their number
COMPONENTS = 50
FOLDS = 5

Method = Literal["pca", "tsne"]


class Features:
    """The features of a store, computed on first use and kept; safe between threads.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.RLock()
        self._kept: dict[str, Any] = {}

    def neighbours(self, clip: int) -> list[tuple[int, float]]:
        """Return the nearest clips with their cosine similarity, the nearest first.

        Parameters
        ----------
        clip : int
            Position in the store. A clip without features has no neighbours.
        """
        rows = self._once("rows", self._rows)
        usable = self.store.usable
        if clip not in usable:
            return []
        similarity = rows @ rows[np.searchsorted(usable, clip)]
        order = np.argsort(-similarity, kind="stable")
        nearest = [number for number in order[: NEIGHBOURS + 1] if usable[number] != clip]
        return [(int(usable[i]), round(float(similarity[i]), 4)) for i in nearest[:NEIGHBOURS]]

    def map(self, method: Method) -> tuple[Clips, Floats]:
        """Return positions in the store, and of each the point in the unit square.

        Parameters
        ----------
        method : {"pca", "tsne"}
            The first two principal components of all clips; or t-SNE (van der Maaten and Hinton,
            "Visualizing data using t-SNE", JMLR 9, 2008) of at most `MAPPED` clips, drawn with a
            fixed seed, from their first `COMPONENTS` principal components.
        """
        return self._once(method, lambda: self._map(method))  # type: ignore[no-any-return]

    def label_errors(self) -> dict[str, Any]:
        """Return clips whose label is likely wrong, by probabilities of models that did not see it.

        A logistic regression is trained without one fold of the subjects, and applied to it.

        Returns
        -------
        dict
            ``clips``, ``suggested`` and ``margin`` as in `pipeline.metrics.label_errors`;
            ``judged``, the number of clips that were judged, and ``folds``.

        Raises
        ------
        InputError
            If the labelled clips have fewer than two subjects or classes.
        """
        return self._once("errors", self._errors)  # type: ignore[no-any-return]

    def _once(self, name: str, compute: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._kept:
                self._kept[name] = compute()
            return self._kept[name]

    def _rows(self) -> Floats32:
        usable = self.store.usable
        rows = np.empty((len(usable), self.store.dim), np.float32)
        for number, clip in enumerate(usable.tolist()):
            rows[number] = self.store[clip].mean(axis=0, dtype=np.float32)
        rows -= rows.mean(axis=0)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows

    def _reduced(self, rows: Floats32, components: int) -> Floats32:
        from sklearn.decomposition import PCA

        components = min(components, *rows.shape)
        reduced: Floats32 = PCA(components, random_state=0).fit_transform(rows)
        return reduced

    def _map(self, method: Method) -> tuple[Clips, Floats]:
        rows, clips = self._once("rows", self._rows), self.store.usable
        if method == "tsne" and len(rows) > 3:
            from sklearn.manifold import TSNE

            if len(rows) > MAPPED:
                drawn = np.random.default_rng(0).choice(len(rows), MAPPED, replace=False)
                rows, clips = rows[np.sort(drawn)], clips[np.sort(drawn)]
            perplexity = min(30.0, (len(rows) - 1) / 3)
            points = TSNE(perplexity=perplexity, init="random", random_state=0).fit_transform(
                self._reduced(rows, COMPONENTS)
            )
        else:
            points = np.zeros((len(rows), 2), np.float32)
            if len(rows) > 1:
                reduced = self._reduced(rows, 2)
                points[:, : reduced.shape[1]] = reduced
        low, span = points.min(axis=0, initial=np.inf), np.ptp(points, axis=0) if len(points) else 1
        return clips, (points - low) / np.maximum(span, 1e-12)

    def _errors(self) -> dict[str, Any]:
        store, usable = self.store, self.store.usable
        rows = self._once("rows", self._rows)
        kept = np.flatnonzero(store.labels[usable] != UNLABELLED)
        clips, rows = usable[kept], rows[kept]
        labels = store.labels[clips]
        people = (store.subjects if store.subjects_known else store.videos)[clips]
        folds = min(FOLDS, len(np.unique(people)))
        if folds < 2 or len(np.unique(labels)) < 2:
            raise InputError(
                "Label errors need labelled clips of two subjects and two classes or more."
            )
        judged, probabilities = _out_of_fold(
            self._reduced(rows, COMPONENTS), labels, people, folds, len(store.classes)
        )
        found = label_errors(labels[judged], probabilities[judged])
        return {
            "clips": clips[judged][found.clips].tolist(),
            "suggested": found.suggested.tolist(),
            "margin": found.margin.round(4).tolist(),
            "judged": len(judged),
            "folds": folds,
        }


def _out_of_fold(
    rows: Floats32, labels: Ints, people: Any, folds: int, classes: int
) -> tuple[Ints, Floats]:
    """Return which clips have a class that other subjects have too, and all probabilities."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    rows = rows / rows.std(axis=0).max()
    probabilities = np.zeros((len(rows), classes))
    judged = np.zeros(len(rows), np.bool_)
    for train, held_out in GroupKFold(folds).split(rows, labels, people):
        if len(there := np.unique(labels[train])) < 2:
            continue
        with warnings.catch_warnings():  # a ranking does not need the last digits
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(max_iter=200).fit(rows[train], labels[train])
        probabilities[np.ix_(held_out, there)] = model.predict_proba(rows[held_out])
        judged[held_out] = np.isin(labels[held_out], there)
    return np.flatnonzero(judged), probabilities
