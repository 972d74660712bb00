"""The last blocks of a backbone, trained on a split, and what builds make of the weights."""

import json
import math
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from featstore.errors import BusyError, InputError
from featstore.manage.provenance import read_provenance
from models.backbones import build_backbone
from pipeline import finetune as finetune_module
from pipeline.build.extract.preprocess import prepare as prepare_frames
from pipeline.build.extract.statistics import Statistics
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.build.plan.leakage import read_training
from pipeline.build.plan.options import BuildOptions
from pipeline.cli import main
from pipeline.cli.splits import flags_of_split
from pipeline.finetune import Tuning, finetune
from pipeline.finetune import frames as frames_module
from pipeline.finetune.frames import Frames, load_frames
from pipeline.finetune.learner import Tuner
from pipeline.finetune.options import MOST_LR, MOST_SEED
from pipeline.finetune.pixels import Pixels
from pipeline.runs.folder import CHECKPOINT, unfinished_folder, unfinished_of
from pipeline.system.device import has_bf16
from pipeline.video.decode import Lost, decode, decode_all
from tests.builds import build, options_of, plan_of, row, silent
from tests.featstore.test_docs import run as run_page
from tests.folders import DOCS
from tests.killing import killed_when
from tests.videos import write_table, write_video

NAME = "squeezenet1_1"
PARTS = ("train", "val", "test")
NUMBERS = ("lr", "layer_decay", "warmup", "weight_decay", "crop", "light")
SIDE = 48
CPU = torch.device("cpu")
QUICK = Tuning(blocks=3, epochs=3, frames=24, batch_size=16, lr=3e-3, warmup=0.5)
PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from pipeline.finetune import finetune
from tests.pipeline.finetune.test_finetune import QUICK, of
data = Path(sys.argv[1])
finetune(of(data, Path(sys.argv[2])), QUICK, out=Path(sys.argv[3]), log=partial(print, flush=True))
"""


def striped(frames: int, *, upright: bool, seed: int) -> np.ndarray:
    """Stripes under noise, upright or not, which no mean or spread tells apart."""
    rng = np.random.default_rng(seed)
    lines = np.where(np.arange(SIDE) // 4 % 2, 90, 160)
    stripes = np.broadcast_to(lines if upright else lines[:, None], (SIDE, SIDE))
    return (stripes + rng.integers(-30, 31, (frames, SIDE, SIDE))).astype(np.uint8)


def write_data(folder: Path) -> Path:
    """A video a part: stripes of class a, then of b, in two clips each; and pretrained weights."""
    folder.mkdir(parents=True)
    rows = []
    for seed, part in enumerate(PARTS):
        pictures = [striped(12, upright=upright, seed=2 * seed + upright) for upright in (0, 1)]
        write_video(folder / f"{part}.mp4", np.concatenate(pictures))
        rows += [row(f"{part}.mp4", 6 * n, 6 * n + 6 - n % 2, part, "ab"[n // 2]) for n in range(4)]
    torch.manual_seed(1)
    save_file(build_backbone(NAME, 3).network.state_dict(), folder / "weights.safetensors")
    return write_table(folder / "clips.csv", rows)


def of(data: Path, store: Path, **more: Any) -> BuildOptions:
    given = {"weights": str(data.parent / "weights.safetensors"), "batch_size": None} | more
    return options_of(data, store, **given)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("finetune") / "data")


@pytest.fixture(scope="module")
def tuned(data: Path) -> Path:
    """Weights that were finetuned without a break."""
    return finetune(
        of(data, data.parent.parent / "features"),
        QUICK,
        out=data.parent.parent / "tuned.safetensors",
        log=silent,
    )


def loaded(options: BuildOptions, folder: Path) -> Frames:
    """The frames that a finetuning with these options learns from."""
    statistics = Statistics(mean=(0.45,), std=(0.2,), origin="fixed")
    cache = cache_of(options.store)
    try:
        return load_frames(plan_of(options), statistics, folder, cache, silent)
    finally:
        cache.close()


def test_the_last_blocks_change_and_nothing_else(data: Path, tuned: Path) -> None:
    before, after = load_file(data.parent / "weights.safetensors"), load_file(tuned)
    assert before.keys() == after.keys()
    changed = {
        name.rpartition(".")[0] for name in after if not torch.equal(before[name], after[name])
    }
    assert {name.split(".")[1] for name in changed} == {"10", "11", "12"}


def test_it_learns_what_val_shows(data: Path, tuned: Path) -> None:
    record = read_training(tuned)
    assert record is not None
    history, best = record["history"], record["best_epoch"]
    assert history[best - 1]["val_mean_class_accuracy"] == 1
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert all(row["val_mean_class_accuracy"] < 1 for row in history[: best - 1])


def test_the_file_says_what_it_has_seen(data: Path, tuned: Path) -> None:
    with safe_open(tuned, "np") as file:
        record = json.loads(file.metadata()["featstore"])
    assert record == read_training(tuned)
    plan = plan_of(of(data, data.parent.parent / "features"))
    hashes = {video.name: video.sha256 for video in plan.videos}
    assert record["store_key"] == plan.key
    assert record["subjects"] == {"train": ["of train"], "val": ["of val"]}
    assert record["videos"] == {"train": [hashes["train.mp4"]], "val": [hashes["val.mp4"]]}
    assert record["source"]["name"] == "table"
    assert record["source"]["data"] == "clips.csv"
    assert record["tuning"]["lr"] == QUICK.lr
    assert record["base"]["weights"] == plan.weights.identity
    assert record["base"]["training"] is None
    assert record["numerics"]["torch"] == torch.__version__
    assert str(data.parent) not in json.dumps(record)


def test_builds_take_the_file_under_a_new_key_and_say_so(data: Path, tuned: Path, tmp_path) -> None:
    lines: list[str] = []
    old = build(of(data, tmp_path))
    new = build(of(data, tmp_path, weights=str(tuned)), lines.append)
    assert new.key != old.key
    assert [own.shape for own in new] == [own.shape for own in old]
    assert not np.allclose(new[0], old[0])
    said = "tuned.safetensors, finetuned on data clips"
    assert read_provenance(new.path)["weights"] == said
    assert not new.attributes["untrained"]


def test_features_of_the_file_tell_the_test_clips_apart(data: Path, tuned: Path, tmp_path) -> None:
    store = build(of(data, tmp_path, weights=str(tuned)))
    means = np.array([own.mean(axis=0) for own in store])
    train, test = store.split("train"), store.split("test")
    centres = [means[train][store.labels[train] == label].mean(axis=0) for label in (0, 1)]
    distances = [np.linalg.norm(means[test] - centre, axis=1) for centre in centres]
    assert (np.argmin(distances, axis=0) == store.labels[test]).all()


def test_a_split_that_holds_out_whom_it_saw_is_refused(data: Path, tuned: Path, tmp_path) -> None:
    swapped = data.read_text().replace("of train,train", "of train,other")
    swapped = swapped.replace("of test,test", "of test,train").replace("other", "test")
    other = data.with_name("swapped.csv")
    other.write_text(swapped)
    with pytest.raises(InputError, match=r"has of train in train or val, and here .* in test"):
        build(of(other, tmp_path, weights=str(tuned)))
    build(of(other, tmp_path))
    flags = ["--source", "table", "--data", str(other), "--backbone", NAME, "--size", "32"]
    flags += ["--weights", str(tuned), "--stores", str(tmp_path)]
    refused = CliRunner().invoke(main, ["build", *flags])
    assert refused.exit_code == 2
    assert "finetuned on 'data clips', which has of train" in refused.stderr


def test_builds_say_which_names_they_could_not_tell_apart(
    data: Path, tuned: Path, tmp_path
) -> None:
    subjects = {"train": "new", "val": "of val", "test": "of train"}
    rows = [row(f"{part}.mp4", 0, 4, part) | {"subject": subjects[part]} for part in PARTS]
    for seed, part in enumerate(PARTS, start=40):
        write_video(tmp_path / f"{part}.mp4", striped(4, upright=True, seed=seed))
    options = of(write_table(tmp_path / "clips.csv", rows), tmp_path, weights=str(tuned))
    lines: list[str] = []
    with closing(cache_of(tmp_path)) as cache:
        plan_build(options, cache, lines.append)
    (line,) = [line for line in lines if "could not be told" in line]
    assert "has of train in train or val, and such names are here in test" in line


def test_a_second_finetuning_begins_from_the_first_and_remembers_it(
    data: Path, tuned: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again.safetensors"
    finetune(of(data, tmp_path, weights=str(tuned)), Tuning(epochs=1), out=out, log=silent)
    record = read_training(out)
    assert record is not None
    assert record["base"]["name"] == tuned.name
    assert record["base"]["training"] == read_training(tuned)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("pixels", ["luma", "rgb"])
def test_frames_are_those_of_a_build(data: Path, tmp_path: Path, fit, pixels) -> None:
    options = of(data, tmp_path, fit=fit, pixels=pixels, size=36)
    plan, frames = plan_of(options), loaded(options, tmp_path)
    mean, std = [0.45], [0.2]
    clips = [clip for clip in plan.clips if clip.split == "train"]
    clips += [clip for clip in plan.clips if clip.split == "val"]
    assert frames.train == 4
    assert frames.labels.tolist() == ["ab".index(clip.label) for clip in clips]
    assert len(frames.pixels) == 2 * 24 - 4  # of two parts, without those of no clip
    for clip, rows in zip(clips, frames.rows, strict=True):
        video = plan.videos[clip.video]
        wanted = np.arange(clip.start, clip.stop)
        pictures = np.stack([own for _, own in decode(video.path, video.index, wanted, pixels)])
        size = {"size": 36, "fit": fit, "mean": mean, "std": std, "device": CPU}
        expected = prepare_frames(pictures, video.index, **size)
        found = Pixels(mean, std, CPU)(frames.pixels[rows])
        half = 0.5 / 255 / std[0]  # what rounding to bytes takes at most
        assert float((found - expected).abs().max()) < 1.01 * half


def test_frames_are_decoded_once_and_test_never(data: Path, tmp_path: Path, monkeypatch) -> None:
    opened: list[str] = []

    def noting(path: Path, *given: Any) -> Any:
        opened.append(path.name)
        return decode_all(path, *given)

    monkeypatch.setattr(frames_module, "decode_all", noting)
    first = loaded(of(data, tmp_path), tmp_path)
    assert sorted(opened) == ["train.mp4", "val.mp4"]
    again = loaded(of(data, tmp_path), tmp_path)
    assert len(opened) == 2
    assert np.array_equal(first.pixels, again.pixels)
    loaded(of(data, tmp_path, size=40), tmp_path)  # another command takes nothing over
    assert len(opened) == 4
    assert len(list(tmp_path.glob("frames-*[0-9a-f].npy"))) == 1


def test_clips_of_lost_frames_are_left_out(data: Path, tmp_path: Path, monkeypatch) -> None:
    def losing(path: Path, *given: Any) -> Any:
        for found in decode_all(path, *given):
            yield Lost([7], "torn") if path.name == "train.mp4" and found[0] == 7 else found

    monkeypatch.setattr(frames_module, "decode_all", losing)
    with pytest.raises(InputError, match="1 of 12 clips failed"):
        loaded(of(data, tmp_path), tmp_path)
    for _ in range(2):  # decoded, then found
        frames = loaded(of(data, tmp_path, max_failures="1"), tmp_path)
        assert (frames.train, len(frames.rows)) == (3, 7)
        assert frames.labels[:3].tolist() == [0, 1, 1]


def killed_after(line: str, data: Path, out: Path) -> None:
    """Finetune in a process that is killed when it says a line that begins so."""
    killed_when(line, PROGRAM, data, out.parent / "features", out)


def test_killed_twice_and_continued_to_the_same_bytes(
    data: Path, tuned: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed.safetensors"
    killed_after("squeezenet1_1: the last 3 of 9 blocks", data, out)
    killed_after("epoch   2", data, out)
    assert not out.exists()
    lines: list[str] = []
    options = of(data, tmp_path / "features")
    with pytest.raises(InputError, match=r"another configuration .*lr"):
        finetune(options, Tuning(lr=1e-4), out=out, log=silent)
    finetune(options, QUICK, out=out, log=lines.append)
    assert any("resuming an interrupted finetuning after epoch" in line for line in lines)
    assert out.read_bytes() == tuned.read_bytes()
    assert not unfinished_of(out).exists()


def test_a_finetuning_that_runs_is_left_alone(data: Path, tmp_path: Path) -> None:
    options = of(data, tmp_path / "features")
    with unfinished_folder(tmp_path / "busy.safetensors", {}), pytest.raises(BusyError):
        finetune(options, QUICK, out=tmp_path / "busy.safetensors", log=silent)


def test_the_same_command_again_does_nothing(data: Path, tuned: Path, monkeypatch) -> None:
    monkeypatch.setattr(finetune_module, "fit", None)
    lines: list[str] = []
    options = of(data, data.parent.parent / "features")
    assert finetune(options, QUICK, out=tuned, log=lines.append) == tuned
    assert lines == ["skipped: already finetuned"]
    with pytest.raises(InputError, match="exists with another configuration"):
        finetune(options, Tuning(seed=7), out=tuned, log=silent)


def test_what_a_finetuning_left_that_was_killed_at_its_end_is_removed(
    data: Path, tuned: Path
) -> None:
    options = of(data, data.parent.parent / "features")
    with unfinished_folder(tuned, {}) as left:  # as if one were just about to end
        (left / CHECKPOINT).touch()
        finetune(options, QUICK, out=tuned, log=silent)
        assert left.exists()
    (left / "frames-0.npy").touch()
    with pytest.raises(InputError, match="exists with another configuration"):
        finetune(options, Tuning(seed=7), out=tuned, log=silent)
    assert left.exists()
    finetune(options, QUICK, out=tuned, log=silent)
    assert not left.exists()


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_loss_that_is_not_finite_leaves_nothing(
    data: Path, tmp_path: Path, monkeypatch, part: str
) -> None:
    out = tmp_path / "w.safetensors"
    learn = Tuner.epoch

    def diverging(tuner: Tuner, number: int) -> float:
        loss = learn(tuner, number)
        assert (unfinished_of(out) / CHECKPOINT).exists() == (number > 0)
        if number == 1 and part == "val":
            tuner.model.classifier.bias.data.fill_(math.nan)
        return math.nan if number == 1 and part == "train" else loss

    monkeypatch.setattr(Tuner, "epoch", diverging)
    with pytest.raises(InputError, match=rf"{part} loss.*2; lower --lr"):
        finetune(of(data, tmp_path), QUICK, out=out, log=silent)
    assert not out.exists()
    assert not unfinished_of(out).exists()


@pytest.mark.skipif(not has_bf16(), reason="needs a processor that computes in bfloat16")
def test_in_bfloat16(data: Path, tmp_path: Path) -> None:
    out = finetune(
        of(data, tmp_path, precision="bf16"), QUICK, out=tmp_path / "w.safetensors", log=silent
    )
    assert {own.dtype for own in load_file(out).values()} == {torch.float32}
    record = read_training(out)
    assert record is not None
    assert record["numerics"]["precision"] == "bf16"
    assert record["history"][-1]["train_loss"] < record["history"][0]["train_loss"]


@pytest.mark.parametrize(
    ("more", "tuning", "name", "words"),
    [
        ({"backbone": "r3d_18"}, {}, "w.safetensors", "takes windows of frames"),
        ({"weights": "random:1"}, {}, "w.safetensors", "pass pretrained weights"),
        ({}, {}, "w.pth", "ends in .safetensors"),
        ({}, {"blocks": 10}, "w.safetensors", "--blocks is 10, but squeezenet1_1 .* 9 blocks"),
        ({"weights": "no.pth"}, {}, "w.safetensors", "no such file"),
    ],
)
def test_what_cannot_be_finetuned(data: Path, tmp_path: Path, more, tuning, name, words) -> None:
    with pytest.raises(InputError, match=words):
        finetune(of(data, tmp_path, **more), Tuning(**tuning), out=tmp_path / name, log=silent)
    assert not (tmp_path / name).exists()


def test_splits_of_which_no_val_clip_is_left(data: Path, tmp_path: Path, monkeypatch) -> None:
    def losing(path: Path, index: Any, frames: np.ndarray, *given: Any) -> Any:
        if path.name != "val.mp4":
            yield from decode_all(path, index, frames, *given)
        else:
            yield Lost(frames.tolist(), "torn")

    monkeypatch.setattr(frames_module, "decode_all", losing)
    with pytest.raises(InputError, match="has no val clips"):
        loaded(of(data, tmp_path, max_failures="4"), tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("blocks", 0), ("epochs", 0), ("patience", 0), ("frames", 0), ("batch_size", -1)),
        *(("lr", 0), ("layer_decay", 1.1), ("warmup", -1), ("crop", 0), ("light", 1), ("seed", -1)),
        *((name, value) for name in NUMBERS for value in (math.inf, math.nan)),
        *(("lr", 1e39), ("seed", 2**63)),
    ],
)
def test_values_out_of_range(field: str, value: float) -> None:
    flag = field.replace("_", "-")
    with pytest.raises(InputError, match=f"--{flag} is {re.escape(str(value))}"):
        Tuning(**{field: value})


def test_the_largest_values_are_computed_with(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    most = Tuning(lr=MOST_LR, warmup=0, weight_decay=1e308)
    with pytest.raises(InputError, match=r"loss.*--lr"):
        finetune(of(data, tmp_path), most, out=out, log=silent)
    most = Tuning(epochs=2, warmup=1e308, seed=MOST_SEED)
    finetune(of(data, tmp_path), most, out=out, log=silent)


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--lr", "inf"), ("--weight-decay", "inf"), ("--warmup", "inf"), ("--seed", str(2**64))],
)
def test_values_out_of_range_on_the_command_line(flag: str, value: str) -> None:
    refused = CliRunner().invoke(main, ["finetune", "--out", "w.safetensors", flag, value])
    assert refused.exit_code == 2
    assert flag in refused.stderr
    assert value in refused.stderr


def test_on_the_command_line(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--source", "table", "--data", str(data), "--backbone", NAME, "--pixels", "luma"]
    flags += ["--weights", str(data.parent / "weights.safetensors"), "--size", "32"]
    small = ["--blocks", "1", "--epochs", "1", "--frames", "1", "--device", "cpu"]
    done = CliRunner().invoke(main, ["finetune", *flags, *small, "--out", "w.safetensors"])
    assert done.exit_code == 0, done.output
    assert "squeezenet1_1: the last 1 of 9 blocks are trained" in done.stdout
    assert done.stdout.splitlines()[-1] == "weights w.safetensors"
    record = read_training(Path("w.safetensors"))
    assert record is not None
    assert record["tuning"] == {
        own: getattr(Tuning(blocks=1, epochs=1, frames=1), own) for own in record["tuning"]
    }  # so the flags have the defaults of the fields
    assert not [path for path in Path().iterdir() if path.name.endswith(".unfinished")]


def test_every_split_has_its_own_weights() -> None:
    given = {"folds": None, "split": None, "weights": "tuned-{split}.safetensors"}
    assert flags_of_split(given, 2) == given | {"split": 2, "weights": "tuned-2.safetensors"}


def test_examples_of_the_documentation(data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "data").symlink_to(data.parent)
    monkeypatch.chdir(tmp_path)
    results = run_page(DOCS / "finetune.md")
    assert results.failed == 0, capsys.readouterr().out
    assert results.attempted > 5
