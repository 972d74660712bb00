"""What a sweep searches is checked before the first trial."""

from pathlib import Path
from typing import Any

import pytest

from featstore.errors import InputError
from pipeline.sweep import load_space, space_of
from pipeline.sweep.study import open_study
from pipeline.train.recipes.load import load_recipe

pytest.importorskip("optuna")


def test_values_become_recipes(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "recipe: bilstm\ntrials: 7\nspace:\n"
        "  train.lr: {low: 1e-4, high: 1e-2, log: true}\n"
        "  train.weight_decay: {low: 0, high: 1}\n"
        "  train.clip_norm: {low: 1, high: 5, step: 2}\n"
        "  data.steps: {choices: [null, 16]}\n"
        "  train.batch_size: {low: 16, high: 64, step: 16}\n"
        "  head.hidden: {low: 8, high: 64, log: true}\n"
    )
    space = load_space(path)
    assert (space.trials, space.base) == (7, load_recipe("bilstm"))
    recipe = space.recipe({"train.lr": 0.002, "data.steps": None, "head.hidden": 9}, name="x")
    assert (recipe.name, recipe.train.lr, recipe.data.steps) == ("x", 0.002, None)
    assert recipe.model_dump()["head"]["hidden"] == 9
    assert recipe.train.epochs == load_recipe("bilstm").train.epochs
    with open_study(tmp_path / "study.db", space, seed=0) as study:
        drawn = [study.ask()[1] for _ in range(16)]
    for values in drawn:
        assert 1e-4 <= values["train.lr"] <= 1e-2
        assert isinstance(values["train.weight_decay"], float)
        assert values["train.clip_norm"] in (1.0, 3.0, 5.0)
        assert values["data.steps"] in (None, 16)
        assert values["train.batch_size"] in (16, 32, 48, 64)
        assert isinstance(values["head.hidden"], int)
        space.recipe(values)
    # Evenly by order of magnitude: about half of them below the geometric mean.
    assert 3 <= sum(values["train.lr"] < 1e-3 for values in drawn) <= 13


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("head.hiden", {"low": 1, "high": 2}, "unknown field head.hiden .*did you mean head.hid"),
        ("head", {"low": 1, "high": 2}, "unknown field head.low|head is a section"),
        ("train.lr", 0.1, r"train.lr is 0.1; give \{low"),
        ("train.lr", {"low": 1e-4}, "high .*field required"),
        ("train.lr", {"low": "a", "high": 1}, "train.lr: low = 'a': input should be a valid num"),
        ("train.lr", {"low": 2, "high": 1}, "low is 2 and high is 1"),
        ("train.lr", {"low": 0, "high": 1, "log": True}, "with log, low is 0"),
        ("train.lr", {"low": 1, "high": 2, "log": True, "step": 1}, "with log, step"),
        ("train.lr", {"low": 0, "high": 1}, "train.lr = 0.0: input should be greater than 0"),
        ("train.lr", {"low": 0.1, "high": 1, "stpe": 1}, "stpe = 1: extra"),
        ("train.lr", {"low": 0.1, "high": 1, "step": 0.2}, "multiples of step 0.2"),
        ("train.lr", {"low": 1e-9, "high": 1e22, "step": 7e-9}, "multiples of step 7e-09"),
        ("head.hidden", {"low": 8, "high": 10**12}, "the head is too large"),
        ("head.hidden", {"low": 1.5, "high": 2}, "low is 1.5, but the field takes integers"),
        ("head.hidden", {"low": 0, "high": 2}, "head.hidden = 0: input should be greater"),
        ("head.pool", {"low": 0, "high": 2}, r"head.pool does not take numbers; give \{choices"),
        ("head.pool", {"choices": ["mean", "men"]}, "head.pool = 'men': .*did you mean mean"),
        ("head.pool", {"choices": ["mean"]}, "choices = "),
        ("head.pool", {"choices": ["mean", "mean"]}, "'mean' is among the choices twice"),
        ("train.lr", {"choices": [0.1, [1]]}, r"\[1\] is not a number"),
        ("head.kind", {"choices": ["mlp", "tcn"]}, "head.kind cannot be searched: every head"),
        ("train.monitor", {"choices": ["top1", "loss"]}, "train.monitor cannot be searched"),
        ("name", {"choices": ["a", "b"]}, "name cannot be searched"),
    ],
)
def test_a_wrong_field_is_said_before_the_first_trial(field: str, given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        space_of({"recipe": "bilstm", "space": {field: given}}, "s.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("space: {}", "space = {}: dictionary should have at least 1"),
        ("trials: 0\nspace: {train.lr: {low: 0.1, high: 1}}", "trials = 0"),
        ("trails: 9\nspace: {train.lr: {low: 0.1, high: 1}}", "trails = 9"),
        ("recipe: bilstn\nspace: {train.lr: {low: 0.1, high: 1}}", "'bilstn'.*mean bilstm"),
        ("[1, 2]", "expected recipe, trials and space"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        load_space(tmp_path / "s.yaml")
    with pytest.raises(InputError, match="no such file"):
        load_space(tmp_path / "none.yaml")


def test_a_mean_of_recipes_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "mean.yaml"
    recipe.write_text("mean_with: [{}]\n")
    with pytest.raises(InputError, match=r"mean\.yaml averages several recipes.*mean_with"):
        space_of({"recipe": str(recipe), "space": {"train.lr": {"low": 1e-4, "high": 1e-2}}})
