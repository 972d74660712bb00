"""The Python API: `build`, `train`, `compare`, `predict`, and the `Run` of a training.

Importing this module does not import torch or the pipeline; calling a function does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

from featstore.errors import InputError
from featstore.installation import call
from featstore.reading.fused import fuse
from featstore.reading.store import Store, open_store
from featstore.types import Log


class Prediction(NamedTuple):
    """The prediction of a run for one clip.

    Attributes
    ----------
    clip : str
    part : {"val", "test"}
    label, prediction : str
    probability : float
        Of the predicted class.
    subject : str
    """

    clip: str
    part: str
    label: str
    prediction: str
    probability: float
    subject: str = ""


@dataclass(frozen=True)
class Run:
    """The folder of one training run, readable without torch.

    Attributes
    ----------
    path : Path

    Examples
    --------
    >>> Run(Path("runs/none")).metrics
    Traceback (most recent call last):
        ...
    featstore.errors.InputError: runs/none: not a run; it has no metrics.json
    """

    path: Path

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``: scores as fractions under ``val`` and ``test``."""
        metrics: dict[str, Any] = call("pipeline.runs.files:read_metrics", self.path)
        return metrics

    def predictions(self, part: str | None = None) -> list[Prediction]:
        """Return the predictions of one part, or of both val and test.

        Parameters
        ----------
        part : {"val", "test"}, optional

        Returns
        -------
        list of Prediction
            ``pandas.DataFrame(run.predictions())`` makes a table of it.
        """
        rows = call("pipeline.runs.files:read_predictions", self.path)
        return [
            Prediction(
                clip=row["clip"],
                part=row["part"],
                label=row["label"],
                prediction=row["prediction"],
                probability=float(row["probability"]),
                subject=row.get("subject") or "",
            )
            for row in rows
            if part is None or row["part"] == part
        ]

    @property
    def report(self) -> str:
        """The report in Markdown."""
        return (self.path / "report.md").read_text("utf-8")


@dataclass(frozen=True)
class Comparison:
    """The differences of runs from the first run.

    Attributes
    ----------
    differences : list
        One `pipeline.runs.compare.Difference` for each of the other runs.
    text : str
        The differences in Markdown; ``print`` shows it.
    """

    differences: list[Any]
    text: str

    def __str__(self) -> str:
        return self.text


@overload
def build(
    source: str = "driveact",
    *,
    store: str | Path = "features",
    splits: None = None,
    dask: str | None = None,
    views: int = 1,
    view_flip: bool = False,
    log: Log = print,
    **options: Any,
) -> Store: ...


@overload
def build(
    source: str = "driveact",
    *,
    store: str | Path = "features",
    splits: Sequence[int],
    dask: str | None = None,
    log: Log = print,
    **options: Any,
) -> list[Store]: ...


def build(
    source: str = "driveact",
    *,
    store: str | Path = "features",
    splits: Sequence[int] | None = None,
    dask: str | None = None,
    views: int = 1,
    view_flip: bool = False,
    log: Log = print,
    **options: Any,
) -> Store | list[Store]:
    """Extract the features of annotated clips, and return the opened store.

    If the store already exists, it is opened and nothing is computed.

    Parameters
    ----------
    source : str
        The kind of annotations: ``driveact``, ``table``, ``folders`` or ``lists``.
    store : str or Path
        The folder of stores, or a URL such as ``s3://bucket/prefix``.
    splits : sequence of int, optional
        Build each of these splits, or of these folds if there is ``folds``, with one decode.
    dask : str, optional
        ``local:N`` for N processes here, the address of a Dask scheduler, or its file.
    views : int
        With more than 1, also augmented views of every clip; the stores of all views are fused.
    view_flip : bool
        Flip half of the clips of an augmented view.
    log : callable
        Called with one line at a time.
    **options : Any
        The source's own fields, such as ``data`` and ``split``, and those of
        `pipeline.build.plan.options.BuildOptions`, such as ``backbone``, ``weights``, ``pixels``,
        ``fps``.

    Returns
    -------
    Store, or list of Store
        With `splits`, the store of each split, in the same order.

    Raises
    ------
    InputError
        If an option, an annotation, a video or the weights are invalid.
    BusyError
        If another process is building the same store.

    Examples
    --------
    >>> build(source="tabel", data="clips.csv")
    Traceback (most recent call last):
        ...
    featstore.errors.InputError: --source is 'tabel' (did you mean 'table'?); there are ...
    """
    asked = {"source": source, "store": store, **options}
    count = None if views == 1 else views
    each = call("pipeline.build.plan.request:each_view", count, view_flip, like=options.get("like"))
    if splits is not None:
        if len(each) > 1:
            raise InputError(f"views is {views}, and splits are passed; build one split at a time.")
        several = call("pipeline.api:build_splits", asked, splits, log=log, dask=dask)
        return [open_store(built.path, check=True) for built in several]
    if len(each) == 1:
        built = call("pipeline.api:build", asked, log=log, dask=dask)
        return open_store(built.path, check=True)
    several = call(
        "pipeline.api:build_several", [asked | view for view in each], log=log, dask=dask
    )
    return _opened([built.path for built in several])


def train(
    store: Store | str | Path | Sequence[Store | str | Path],
    recipe: str | Path | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    set: Mapping[str, Any] | None = None,
    baseline: Run | str | Path | None = None,
    device: str = "auto",
    trackers: Sequence[str] = (),
    log: Log = print,
) -> Run:
    """Train a temporal classifier on the features of a store, or of several.

    Parameters
    ----------
    store : Store, path, or a sequence of these
        Several stores are joined by clip; see `featstore.fuse`.
    recipe : str or Path, optional
        The name of a recipe or a YAML file.  [default: the default recipe]
    seed : int
    out : str or Path, optional
        The run's folder.  [default: a free one below ``runs/``]
    set : mapping, optional
        Recipe fields to override: ``{"train.lr": 3e-4}``.
    baseline : Run or path, optional
        A run for the report to compare with.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    trackers : sequence of str
        ``tensorboard`` and ``mlflow`` get the scores of every epoch.
    log : callable
        Called with one line at a time.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the recipe does not fit the store, or `out` exists.
    """
    options = {
        "overrides": [f"{name}={_yaml(value)}" for name, value in (set or {}).items()],
        "seed": seed,
        "out": None if out is None else Path(out),
        "baseline": None if baseline is None else _folder(baseline),
        "device": device,
        "trackers": tuple(trackers),
        "log": log,
    }
    arguments = () if recipe is None else (recipe,)
    return Run(call("pipeline.api:train", _opened(store), *arguments, **options))


@dataclass(frozen=True)
class Predictions:
    """The results of `predict`: a folder of tables, subtitles and pictures.

    Attributes
    ----------
    path : Path
    facts : dict
        The numbers of ``recordings``, ``skipped``, ``unreadable``, ``windows``, ``gaps`` and
        ``segments``.
    scores : dict or None
        Against the annotations, if there are any.
    """

    path: Path
    facts: dict[str, Any]
    scores: dict[str, Any] | None

    def windows(self) -> list[dict[str, Any]]:
        """Return the table of windows: interval, class and probabilities; None in gaps."""
        rows: list[dict[str, Any]] = call(
            "pipeline.predict.outputs:read_table", self.path, "windows"
        )
        return rows

    def clips(self) -> list[dict[str, Any]]:
        """Return the table of the clips of a store."""
        rows: list[dict[str, Any]] = call("pipeline.predict.outputs:read_table", self.path, "clips")
        return rows

    def segments(self) -> list[dict[str, Any]]:
        """Return the table of segments: interval, class and mean probability."""
        rows: list[dict[str, Any]] = call(
            "pipeline.predict.outputs:read_table", self.path, "segments"
        )
        return rows


def predict(
    run: Run | str | Path,
    inputs: str | Path | Sequence[str | Path],
    *,
    out: str | Path = "predictions",
    log: Log = print,
    **options: Any,
) -> Predictions:
    """Predict the classes of new recordings with a trained run.

    Parameters
    ----------
    run : Run or path
    inputs : path, or a sequence of paths
        Videos, folders of videos, and tables with a column ``video``; or one store.
    out : str or Path
        Folder of the results. Recordings that it has already are skipped.
    log : callable
        Called with one line at a time.
    **options : Any
        The fields of `pipeline.predict.options.PredictOptions`, such as ``window``, ``hop``,
        ``intervals``, ``smooth`` and ``format``; and ``dask``, as in `build`.

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        If the run, an input or an option cannot be used.
    """
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    options |= {"out": Path(out), "log": log}
    facts = call("pipeline.api:predict", _folder(run), paths, **options)
    counts = {name: value for name, value in facts.items() if name not in ("out", "scores")}
    return Predictions(Path(facts["out"]), counts, facts.get("scores"))


def compare(runs: Sequence[Run | str | Path], *, part: str = "test", seed: int = 0) -> Comparison:
    """Test whether runs differ from the first one by more than chance, and on which classes.

    Parameters
    ----------
    runs : sequence of Run or path
        At least two. A folder of runs, such as the seeds of a recipe, counts as one.
    part : {"val", "test"}
    seed : int
        Of the bootstrap.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If there are fewer than two runs, or their clips differ.
    """
    folders = [str(_folder(run)) for run in runs]
    return Comparison(*call("pipeline.api:compare", folders, part=part, seed=seed))


def _opened(store: Store | str | Path | Sequence[Store | str | Path]) -> Store:
    if isinstance(store, Store):
        return store
    if isinstance(store, str | Path):
        return open_store(store, check=True)
    stores = [_opened(one) for one in store]
    return stores[0] if len(stores) == 1 else fuse(stores)


def _folder(run: Run | str | Path) -> Path:
    return run.path if isinstance(run, Run) else Path(run)


def _yaml(value: Any) -> str:
    """Return a value as YAML, for a recipe field."""
    import json

    return value if isinstance(value, str) else json.dumps(value)
