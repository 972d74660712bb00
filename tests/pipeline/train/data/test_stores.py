"""Training on several stores: both ways to join them, and what a run says of them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load_file

import featstore
from featstore import InputError, Store
from models.heads import build_head
from pipeline.cli import main
from pipeline.runs.files import read_metrics
from pipeline.runs.register import known_runs
from pipeline.train.data.stores import open_stores
from pipeline.train.evaluate import own_store, rescore
from pipeline.train.learner import make_head
from pipeline.train.recipes.load import Recipe, load_recipe
from pipeline.train.train import train
from tests.builds import build, options_of, row, write_dataset, write_videos
from tests.featstore.test_docs import run as run_page
from tests.folders import DOCS
from tests.pages import runnable
from tests.videos import textured, write_table, write_video
from tests.views import LENGTHS, write_view

CLIPS = 120
CLASSES = ("a", "b", "c", "d")
VIDEOS = ("train.mp4", "val.mkv", "test.avi")
LABELS = np.arange(CLIPS) // 3 % 4  # as many of each in every part


def half(path: Path, bit: int, **options: Any) -> Store:
    """A store that tells one half of the four classes from the other, and no more."""
    every = options.setdefault("every", 5)
    shown = (LABELS >> bit & 1).repeat(-(-20 // every))
    noise = np.random.default_rng(bit).normal(size=(len(shown), 3))
    return write_view(
        path,
        lengths=[20] * CLIPS,
        features=noise * 0.3 + np.outer(2.0 * shown - 1, [1, -1, 0.5]),
        dim=3,
        label=LABELS,
        label_name=np.array(CLASSES),
        video=f"0{bit}",
        late=7 * bit,
        **options,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of two views, of which one has more steps."""
    folder = tmp_path_factory.mktemp("features")
    half(folder / "one.zarr", 0)
    half(folder / "two.zarr", 1, every=2)
    return folder


@pytest.fixture
def both(folder: Path) -> Store:
    return open_stores([folder / "one.zarr", folder / "two.zarr"])


def recipe_of(*changes: str) -> Recipe:
    return load_recipe("linear", ["train.lr=0.05", "train.epochs=12", *changes])


def trained(store: Store, out: Path, *changes: str, **options: Any) -> dict[str, Any]:
    lines: list[str] = []
    options.setdefault("log", lines.append)
    return read_metrics(train(store, recipe_of(*changes), out=out, **options))


@pytest.mark.parametrize("fusion", ["null", "concat", "logits"])
@pytest.mark.parametrize("standardise", ["none", "train", "causal"])
def test_two_views_tell_what_neither_tells(
    both: Store, tmp_path: Path, fusion: str, standardise: str
) -> None:
    how = f"data.standardise={standardise}"
    for number, own in enumerate(both.stores):
        alone = trained(own, tmp_path / f"alone{number}", f"data.fusion={fusion}", how)
        assert alone["test"]["top1"] < 0.7
        assert not {"stores", "fusion"} & alone.keys()
    run = tmp_path / "together"
    assert trained(both, run, f"data.fusion={fusion}", how)["test"]["top1"] > 0.95
    again = rescore(run, own_store(run), "test")
    assert again.metrics.top1 == read_metrics(run)["test"]["top1"]


def test_heads_are_those_of_the_recipe(both: Store, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(both, run, "data.fusion=logits", "train.epochs=2")
    weights = load_file(run / "weights.safetensors")
    options = recipe_of().head.model_dump(exclude={"num_classes"})
    logits = torch.zeros(1, 4)
    clip = int(both.split("val")[0])
    mask = torch.ones(1, len(both[clip]), dtype=torch.bool)
    for number, features in enumerate(np.split(both[clip], [3], axis=1)):
        head = build_head(features=3, classes=4, **options).eval()
        prefix = f"heads.{number}."
        head.load_state_dict(
            {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        )
        logits += head(torch.tensor(features)[None], mask).logits / 2
    found = rescore(run, both, "val").log_probabilities[0]
    np.testing.assert_allclose(found, logits.log_softmax(1)[0].detach().numpy(), atol=1e-5)
    assert len(make_head(both, recipe_of()).state_dict()) * 2 == len(weights)


def test_a_store_alone_has_the_same_head_whatever_the_recipe_says(both: Store) -> None:
    own = both.stores[0]
    kinds = {type(make_head(own, recipe_of(f"data.fusion={how}"))) for how in ("concat", "logits")}
    assert kinds == {type(build_head("linear", 3, 4))}


def test_run_names_every_store(both: Store, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    metrics = trained(both, run, "data.fusion=logits", "train.epochs=1")
    named = [{"title": own.title, "key": own.key} for own in both.stores]
    assert (metrics["stores"], metrics["fusion"]) == (named, "logits")
    assert metrics["store_key"] == both.key
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["store"]["stores"] == named
    assert config["store"]["path"] == [str(folder / "one.zarr"), str(folder / "two.zarr")]
    assert config["recipe"]["data"]["fusion"] == "logits"


def test_report_of_built_stores(built: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(built)
    store = open_stores(sorted(Path("features").glob("*.zarr")))
    run = tmp_path / "run"
    trained(store, run, "train.epochs=1")
    text = (run / "report.md").read_text()
    assert "Features of 2 stores, concatenated; steps aligned by time." in text
    for number, own in enumerate(store.stores, start=1):
        size = own.attributes["features"]["size"]
        assert f"Store {number}: {own.title}, `{own.key}`. Features: squeezenet1_1" in text
        assert f"{size} x {size}" in text


def test_missing_clips_are_counted_in_log_and_report(folder: Path, tmp_path: Path) -> None:
    status = np.zeros(CLIPS, np.int8)
    status[:3] = 1
    path = half(tmp_path / "three.zarr", 1, status=status).path
    paths = [folder / "one.zarr", path]
    with pytest.raises(InputError, match=r"3 of 120 clips failed.*missing"):
        open_stores(paths)
    lines: list[str] = []
    store = open_stores(paths, allow_missing=True)
    metrics = trained(store, tmp_path / "run", "train.epochs=1", log=lines.append)
    (line,) = (line for line in lines if "missing" in line)
    assert line.startswith(f"3 of 120 clips failed or are missing in {path}, such as run/é0")
    assert line in (tmp_path / "run" / "report.md").read_text()
    assert metrics["train"]["clips"] == 39
    assert len(own_store(tmp_path / "run")) == 117


def test_runs_are_scored_on_as_many_stores(both: Store, tmp_path: Path) -> None:
    run, alone = tmp_path / "run", tmp_path / "alone"
    trained(both, run, "train.epochs=1")
    trained(both.stores[0], alone, "train.epochs=1")
    with pytest.raises(InputError, match=r"trained.*2 stores.*1; pass --store twice"):
        rescore(run, both.stores[0], "test")
    with pytest.raises(InputError, match=r"trained.*1 store.*2; pass --store once"):
        rescore(alone, both, "test")


def test_stores_in_another_order_are_refused(both: Store, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(both, run, "train.epochs=1")
    one, two = (f"{own.title} ({own.key[:12]})" for own in both.stores)
    message = f"in the order {one}, {two} but got {two}, {one}; pass"
    with pytest.raises(InputError, match=re.escape(message)):
        rescore(run, featstore.fuse(both.stores[::-1]), "test")


def test_stores_of_another_split_in_another_order_are_refused(tmp_path: Path) -> None:
    first, second = (
        [
            half(tmp_path / f"{view}{split}.zarr", bit, title=f"{view} split {split} drinking")
            for bit, view in enumerate(("front", "side"))
        ]
        for split in (0, 1)
    )
    run = tmp_path / "run"
    trained(featstore.fuse(first), run)
    assert rescore(run, featstore.fuse(second), "test").metrics.top1 > 0.95
    with pytest.raises(InputError, match=r"order front split 0 .* but got side split 1 .*front"):
        rescore(run, featstore.fuse(second[::-1]), "test")
    names = ("elsewhere", "further off")  # which say nothing of the order
    other = [half(tmp_path / f"{name}.zarr", bit) for bit, name in enumerate(names)]
    assert rescore(run, featstore.fuse(other), "test").metrics.top1 > 0.95


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of 32 and of 48 pixels in features/."""
    folder = tmp_path_factory.mktemp("built")
    data = write_dataset(folder / "data")
    for size in (32, 48):
        build(options_of(data, folder / "features", size=size))
    return folder


@pytest.fixture
def names(built: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stores as flags of train."""
    monkeypatch.chdir(built)
    keys = [featstore.open(path).key for path in sorted(Path("features").glob("*.zarr"))]
    return [word for key in keys for word in ("--store", key[:8])]


def featstore_(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


QUICK = ("--recipe", "linear", "--set", "train.epochs=1")


def test_command_trains_and_scores_on_several_stores(names: list[str], tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    result = featstore_("train", *QUICK, *names, "--set", "data.fusion=logits", "--out", out)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["store", "store"]
    assert "1024 features a step" in result.stdout
    for arguments in ([], names):
        scored = featstore_("evaluate", out, *arguments)
        assert scored.exit_code == 0, scored.output
        assert scored.stdout.count("store  ") == 2
    keys = {own.store_key for own in known_runs(Path("features"))}
    assert keys == {own.key for own in own_store(Path(out)).stores}


def test_command_trains_with_several_seeds(names: list[str], tmp_path: Path) -> None:
    out = tmp_path / "runs"
    result = featstore_("train", *QUICK, *names, "--seeds", "2", "--out", str(out))
    assert result.exit_code == 0, result.output
    keys = {read_metrics(out / name)["store_key"] for name in ("seed0", "seed1")}
    assert keys == {own_store(out / "seed0").key}


def test_every_store_is_replaced_by_that_of_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = ("train", "val", "test")
    write_videos(Path("data"))
    rows = [row(own, 4 * n, 4 * n + 8, own, "ab"[n % 2]) for own in VIDEOS for n in range(3)]
    table = write_table(Path("data/clips.csv"), [{**own, "split": "train"} for own in rows])
    splits = write_table(
        Path("data/splits.csv"),
        [
            {"subject": f"of {own}"} | {f"split_{n}": parts[(i + n) % 3] for n in (0, 1)}
            for i, own in enumerate(VIDEOS)
        ],
    )
    stores = {
        (size, split): build(
            options_of(
                table, Path("features"), size=size, source={"split_file": splits, "split": split}
            )
        )
        for size in (32, 48)
        for split in (0, 1)
    }
    named = ("--store", stores[32, 0].key, "--store", stores[48, 1].key)
    result = featstore_("train", *QUICK, *named, "--splits", "0,1", "--out", "runs")
    assert result.exit_code == 0, result.output
    for split in (0, 1):
        trained_on = read_metrics(Path(f"runs/split{split}-seed0"))["stores"]
        assert [own["key"] for own in trained_on] == [stores[n, split].key for n in (32, 48)]


def write_driveact(folder: Path, view: str, late: int) -> None:
    """A view of three people; its camera began `late` frames later."""
    for part, person in (("train", 1), ("val", 2), ("test", 3)):
        video = f"vp{person}/run1.{view}"
        rows = [
            {
                "participant_id": person,
                "file_id": video,
                "annotation_id": number,
                "frame_start": 12 * number + 6 - late,
                "frame_end": 12 * number + 18 - late,
                "activity": ("eating", "drinking")[number],
                "chunk_id": 0,
            }
            for number in range(2)
        ]
        table = folder / "activities_3s" / view / f"midlevel.chunks_90.split_0.{part}.csv"
        for path in (table, folder / view / f"{video}.mp4"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, rows)
        write_video(path, textured(30, seed=person + late))


def test_first_commands_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for late, view in enumerate(("kinect_ir", "kinect_depth")):
        write_driveact(Path("data/driveact"), view, late)
    small = {
        "build": ("--backbone", "squeezenet1_1", "--weights", "random", "--size", "32"),
        "train": ("--set", "train.epochs=1", "--out", "run"),
    }
    for line in runnable("docs/fusion.md"):
        _, command, *arguments = line.split()
        result = featstore_(command, *arguments, *small[command])
        assert result.exit_code == 0, result.output
    titles = [store["title"] for store in read_metrics(Path("run"))["stores"]]
    assert titles == [f"driveact {view} midlevel split 0" for view in ("kinect_ir", "kinect_depth")]


def test_several_stores_and_flags_of_build_exclude_each_other(names: list[str]) -> None:
    result = featstore_("train", *QUICK, *names, "--size", "32")
    assert result.exit_code == 2
    assert "--store is given 2 times" in result.stderr


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    ids = np.array([f"clip/{number}" for number in range(5)])
    write_view(folder / "front.zarr", clip_id=ids)
    write_view(folder / "side.zarr", clip_id=ids, dim=3, every=2, late=4, video="ff")
    write_view(folder / "part.zarr", clip_id=ids[:3], lengths=LENGTHS[:3])
    monkeypatch.chdir(tmp_path)
    results = run_page(DOCS / "fusion.md")
    assert results.failed == 0, capsys.readouterr().out
    assert results.attempted > 15
