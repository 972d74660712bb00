"""The last blocks of a backbone, trained on a split, and what builds make of the weights."""

import json
import math
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file

from featstore.errors import InputError
from featstore.manage.provenance import read_provenance
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.build.plan.leakage import read_training
from pipeline.cli import main
from pipeline.finetune import Tuning, finetune
from pipeline.finetune.learner import Tuner
from pipeline.runs.folder import CHECKPOINT, unfinished_of
from pipeline.system.device import has_bf16
from tests.builds import build, plan_of, row, silent
from tests.finetunings import NAME, PARTS, QUICK, of, striped
from tests.videos import write_table, write_video


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
