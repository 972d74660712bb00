"""Run builds, trainings, predictions and comparisons for the commands and the Python API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

from pipeline.train.recipes import DEFAULT
from pipeline.types import Log

if TYPE_CHECKING:
    from featstore.reading.store import Store
    from pipeline.build.plan.build_plan import BuildPlan
    from pipeline.build.plan.options import BuildOptions
    from pipeline.build.repeat import Answer
    from pipeline.runs.compare import Difference

NOTHING_TO_DO = "already built: nothing to do"


@dataclass(frozen=True, slots=True)
class Built:
    """The result of a build.

    Attributes
    ----------
    path : Path or str
        The path of the sealed store; in a dry run, the path that it would have. Empty, as are
        `shown` and `key`, if a build first has to download the weights.
    shown : str
        The path as it is printed, without a password.
    key : str
    subjects_known, untrained : bool
    dry_run : str
        The table of the planned work; empty after a build.
    planned_bytes : int
        The approximate size of the planned store; 0 after a build.
    """

    path: Path | str
    shown: str
    key: str
    subjects_known: bool
    untrained: bool
    dry_run: str = ""
    planned_bytes: int = 0


def build(
    asked: Mapping[str, Any], *, log: Log, dask: str | None = None, dry_run: bool = False
) -> Built:
    """Extract the features of annotated clips into a store, unless the store exists.

    Parameters
    ----------
    asked : mapping
        Options by name, as `pipeline.build.plan.request.build_options` takes them; ``store`` may
        be a URL.
    log : callable
        Takes one line.
    dask : str, optional
        ``local:N``, the address of a Dask scheduler, or its file.
    dry_run : bool
        Say what would be done, and stop.

    Raises
    ------
    FeatstoreError
    """
    from featstore.manage.catalogue import remember_last
    from featstore.writing.destinations import store_bytes
    from pipeline.build import build as stage
    from pipeline.build.plan.build_plan import cache_of, plan_build
    from pipeline.build.repeat import find_answer, keep_answer, request_of
    from pipeline.build.summary import caveats, describe, dry_run_table, planned_shape
    from pipeline.build.why import differs_from
    from pipeline.system.dask_cluster import Cluster
    from pipeline.system.memory import keep_freed_memory
    from pipeline.video.journal import keep_journal

    keep_freed_memory()
    options = _options(asked)
    with (
        closing(cache_of(options.store)) as cache,
        Cluster(dask, log) if dask else nullcontext() as cluster,
        keep_journal(cache.journals, log),
    ):
        request = None if dry_run or dask else request_of(options)
        answer = find_answer(request, options, cache, log) if request else None
        if answer is not None:
            remember_last(options.store, answer.path)
            return _already_built(answer, log)
        plan = plan_build(options, cache, log, cluster, download=not dry_run)
        if options.repair or not plan.built or dry_run:
            for line in (*describe(plan), *differs_from(plan, None, cache)):
                log(line)
        known, untrained = plan.dataset.subjects_known, plan.weights.untrained
        for line in caveats(subjects_known=known, untrained=untrained):
            log(line)
        if dry_run:
            shape = planned_shape(plan)
            table, size = dry_run_table(plan, *shape), store_bytes(*shape)
            if plan.weights.absent:
                return Built("", "", "", known, untrained, table, size)
            return Built(plan.path, plan.shown_path, plan.key, known, untrained, table, size)
        seconds = stage.build(plan, cache, log, cluster)
        if request:
            keep_answer(request, plan, cache)
    return _report(plan, seconds, log)


def _report(plan: BuildPlan, seconds: dict[str, float], log: Log) -> Built:
    """Log how long a build took and which clips failed; return the result."""
    from featstore.format.opening import read_attributes
    from pipeline.build.summary import failures, timing_table

    log(timing_table(plan, seconds) if seconds else NOTHING_TO_DO)
    for line in failures(read_attributes(plan.path)):
        log(line)
    known, untrained = plan.dataset.subjects_known, plan.weights.untrained
    return Built(plan.path, plan.shown_path, plan.key, known, untrained)


def build_splits(
    asked: Mapping[str, Any], splits: Sequence[int], *, log: Log, dask: str | None = None
) -> list[Built]:
    """Build one store for each split, or for each fold if there are folds; see `build_several`.

    Raises
    ------
    FeatstoreError
    """
    from featstore.errors import InputError
    from pipeline.build.plan.request import options_of_split

    if not splits:
        raise InputError("splits is empty; pass at least one number.")
    return build_several([options_of_split(asked, one) for one in splits], log=log, dask=dask)


def build_several(
    several: Sequence[Mapping[str, Any]],
    *,
    log: Log,
    dask: str | None = None,
    dry_run: bool = False,
) -> list[Built]:
    """Build one store for each set of options; share one decode if possible.

    Parameters
    ----------
    several : sequence of mapping
        As for `build`; they differ in the backbone, the split or fold, and the view.
    log, dask, dry_run
        See `build`.

    Raises
    ------
    FeatstoreError
    """
    from featstore.manage.catalogue import remember_last

    built = {} if dask or dry_run else _build_together(several, log)
    stores = [
        built[number] if number in built else build(asked, log=log, dask=dask, dry_run=dry_run)
        for number, asked in enumerate(several)
    ]
    plain = [number for number, asked in enumerate(several) if asked.get("view_number") is None]
    if plain and not dry_run:  # the default of later commands
        remember_last(_folder(several[0].get("store")), stores[plain[-1]].path)
    return stores


def _build_together(several: Sequence[Mapping[str, Any]], log: Log) -> dict[int, Built]:
    """Build those stores that are missing and can share a decode; return them by position."""
    from pipeline.build.plan.build_plan import cache_of, plan_build
    from pipeline.build.repeat import keep_answer, request_of
    from pipeline.build.summary import caveats, describe
    from pipeline.build.together import build_together, group_by_decode, without_copies
    from pipeline.system.memory import keep_freed_memory
    from pipeline.video.journal import keep_journal

    keep_freed_memory()
    each = [_options(asked) for asked in several]
    if any(options.repair or options.retry_failed or options.bucket for options in each):
        return {}
    requests = [request_of(options) for options in each]
    built: dict[int, Built] = {}
    with closing(cache_of(each[0].store)) as cache, keep_journal(cache.journals, log):
        plans = [plan_build(options, cache, log) for options in each]
        groups = group_by_decode(without_copies([p for p in plans if p.existing is None]))
        if len(groups) > 1:
            log(
                f"{len(groups)} decodes, because not all stores have the same clips, frames and "
                "windows"
            )
        for group in groups:
            if len(group) < 2:
                continue
            for plan in group:
                known, untrained = plan.dataset.subjects_known, plan.weights.untrained
                for line in (*describe(plan), *caveats(subjects_known=known, untrained=untrained)):
                    log(line)
            for plan, seconds in zip(group, build_together(group, cache, log), strict=True):
                number = next(n for n, planned in enumerate(plans) if planned is plan)
                if request := requests[number]:
                    keep_answer(request, plan, cache)
                log(f"{plan.slug}:")
                built[number] = _report(plan, seconds, log)
    return built


def _folder(place: str | Path | None) -> Path:
    """Return the folder that keeps what is known of stores; of a bucket, the default one."""
    from featstore.format.files import is_remote
    from featstore.manage.catalogue import DEFAULT_STORE_ROOT

    return DEFAULT_STORE_ROOT if not place or is_remote(place) else Path(place)


def _options(asked: Mapping[str, Any]) -> BuildOptions:
    """Return the options of a build, whose ``store`` may be a URL."""
    from featstore.format.files import is_remote
    from pipeline.build.plan.request import build_options

    asked = dict(asked)
    place = asked.pop("store", None)
    if is_remote(place):
        asked["bucket"] = place
    elif place:
        asked["store"] = Path(place)
    return build_options(asked)


def _already_built(answer: Answer, log: Log) -> Built:
    """Say of a store that is there what a build says of it."""
    from featstore.format.opening import read_attributes
    from pipeline.build.summary import caveats, failures

    known, untrained = answer.subjects_known, answer.untrained
    for line in caveats(subjects_known=known, untrained=untrained):
        log(line)
    log(NOTHING_TO_DO)
    for line in failures(read_attributes(answer.path)):
        log(line)
    return Built(answer.path, str(answer.path), answer.key, known, untrained)


def train(
    store: Store,
    recipe: str | Path = DEFAULT,
    *,
    overrides: Sequence[str] = (),
    seed: int = 0,
    out: Path | None = None,
    baseline: Path | None = None,
    device: str = "auto",
    trackers: Sequence[str] = (),
    workers: int | None = 1,
    log: Log,
) -> Path:
    """Train a recipe or the portfolio ``auto``, and return the run.

    See `pipeline.train.train.train`. Without `out` the run goes to a free folder below ``runs/``.
    """
    from pipeline.runs.register import register_run
    from pipeline.system.distributed import processes
    from pipeline.train.data.checks import checked_parts
    from pipeline.train.learner import device_of
    from pipeline.train.recipes.portfolio import Portfolio, load_recipes
    from pipeline.train.results import configuration
    from pipeline.train.train import train as run

    loaded = load_recipes(recipe, overrides)
    if out is None:
        first = loaded.recipes[0] if isinstance(loaded, Portfolio) else loaded
        parts, where = checked_parts(store, first), device_of(first, device)
        config = configuration(store, loaded, parts, seed=seed, device=where)
        out = free_folder(Path("runs") / f"{loaded.name}-{store.key[:8]}-seed{seed}", config)
    folder = run(
        store,
        loaded,
        out=out,
        seed=seed,
        device=device,
        baseline=baseline,
        trackers=trackers,
        log=log,
        workers=workers,
    )
    if processes().first:
        register_run(store, folder, recipe=loaded.name, seed=seed, log=log)
    return folder


def free_folder(path: Path, config: dict[str, Any]) -> Path:
    """Return `path`, or the first of ``path-2``, ``path-3``, ... that does not exist.

    A name under which a training of this configuration was interrupted is free; one of another
    configuration is not.
    """
    from pipeline.runs.folder import cut_off_otherwise

    number = 2
    free = path
    while free.exists() or cut_off_otherwise(free, config):
        free = path.with_name(f"{path.name}-{number}")
        number += 1
    return free


def predict(
    run: Path, inputs: Sequence[str | Path], *, log: Log, dask: str | None = None, **options: Any
) -> dict[str, Any]:
    """Predict recordings with a run; see `pipeline.predict.predict.predict`.

    `options` are the fields of `pipeline.predict.options.PredictOptions`; `dask` is as in `build`.
    """
    from dataclasses import fields

    from featstore.errors import InputError
    from featstore.text import did_you_mean
    from pipeline.predict.options import PredictOptions
    from pipeline.predict.predict import predict as predict_recordings
    from pipeline.system.dask_cluster import Cluster

    known = [field.name for field in fields(PredictOptions)]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputError(f"predict has no option {name!r}{hint}; there are {', '.join(known)}.")
    paths = [Path(path) for path in inputs]
    with Cluster(dask, log) if dask else nullcontext() as cluster:
        return predict_recordings(run, paths, PredictOptions(**options), log, cluster)


def predict_live(
    run: Path,
    source: BinaryIO | str,
    *,
    frames: str | None = None,
    camera: str | None = None,
    window: float | None = None,
    hop: float | None = None,
    weights: Sequence[str] | None = None,
    device: str = "auto",
    log: Log,
) -> Iterator[dict[str, Any]]:
    """Yield the prediction of each window of a stream as soon as the window ends.

    `source` has raw frames of the format `frames`, or is the name of a camera of the kind
    `camera`; see `pipeline.predict.stream`.
    """
    from pipeline.build.plan.build_plan import cache_of
    from pipeline.predict.live import check_live
    from pipeline.predict.live import predict_live as windows_of
    from pipeline.predict.stream import StreamFormat, open_stream
    from pipeline.predict.trained import lengths, load_trained

    form = StreamFormat.parse(frames, raw=not isinstance(source, str)) if frames else None
    with TemporaryDirectory() as folder, closing(cache_of(Path(folder))) as cache:
        trained = load_trained(
            run, cache, weights=weights or (), device=device, batch_sizes=[1], log=log
        )
    stream = open_stream(source, form, camera)
    check_live(trained, stream.fps)
    window, hop = lengths(run, trained, window, hop)
    log(
        f"windows of {window:g} s every {hop:g} s; each is predicted when its last frame is there, "
        f"so a change shows after up to {window:g} s and the time of computing"
    )
    for one in windows_of(trained, stream, window, hop):
        yield one.facts(trained.classes)


def compare(
    runs: Sequence[str], *, part: str = "test", seed: int = 0
) -> tuple[list[Difference], str]:
    """Compare runs with the first one; return the differences and a report in Markdown."""
    from featstore.errors import InputError
    from pipeline.report.comparison import comparison
    from pipeline.runs.compare import compare as differences_of
    from pipeline.runs.compare import read_group

    if len(runs) < 2:
        named = f"only {runs[0]} is named" if runs else "no run is named"
        raise InputError(f"{named}, and two are compared; name another run.")
    differences = differences_of([read_group(run, part) for run in runs], seed=seed)
    return differences, comparison(differences, part)
