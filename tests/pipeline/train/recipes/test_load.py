import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from featstore.errors import InputError
from models.heads import HEADS, build_head
from pipeline.train.recipes.load import load_recipe, recipe_names
from tests.folders import ROOT


def test_recipes_that_come_along() -> None:
    assert {"baseline", "bilstm"} < set(recipe_names())
    plain, corrected = load_recipe("baseline"), load_recipe("bilstm")
    assert (plain.head.pool, plain.head.bidirectional, plain.train.imbalance) == (
        "last",
        False,
        "none",
    )
    assert (corrected.head.pool, corrected.head.bidirectional) == ("attention", True)
    assert corrected.head.input_norm
    assert corrected.train.imbalance == "sampler"


def test_overrides_and_yaml_exponents() -> None:
    recipe = load_recipe("baseline", ["train.lr=3e-4", "train.weight_decay=1E2", "data.steps=null"])
    assert (recipe.train.lr, recipe.train.weight_decay, recipe.data.steps) == (3e-4, 100.0, None)
    assert load_recipe("baseline", ["train.imbalance=none"]).train.imbalance == "none"


def test_file_takes_its_name_from_the_file_and_defaults_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {lr: 5e-3}\n")
    recipe = load_recipe(path, ["train.epochs=2"])
    assert (recipe.name, recipe.train.lr, recipe.train.epochs) == ("mine", 5e-3, 2)


def test_recipe_survives_its_own_dump(tmp_path: Path) -> None:
    recipe = load_recipe("bilstm", ["train.lr=1e-5"])
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump()))
    assert load_recipe(path) == recipe


def test_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe("baseline").train.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lrr=1", r"unknown field train\.lrr \(= 1\); did you mean train\.lr\?"),
        ("trian.lr=1", r"trian\.lr \(= 1\); did you mean train\.lr"),
        ("lr=1", r"unknown field lr \(= 1\); did you mean train\.lr"),
        ("train.lr.x=1", r"unknown field train\.lr\.x"),
        ("train=5", "train is a section"),
        ("train={lr: 1}", "one field at a time"),
        ("train.lr", "expected section.field=value"),
        ("=1", "expected section.field=value"),
        ("train.lr=[", "not YAML"),
        ("train.lr=fast", r"train\.lr = 'fast': input should be a valid number"),
        ("train.lr=.inf", r"train\.lr = inf: input should be a finite number"),
        ("train.lr=0", r"train\.lr = 0: .* greater than 0"),
        ("train.epochs=true", r"train\.epochs = True: .* valid integer"),
        ("train.patience=1.5", r"train\.patience = 1\.5"),
        ("head.cell=lstn", r"head\.cell = 'lstn': .*'lstm' or 'gru'; did you mean lstm\?"),
        ("head.num_classes=many", r"head\.num_classes = 'many'"),
        ("head.hidden=0", r"head\.hidden = 0: .* greater than 0"),
        ("head.hidden=8.5", r"head\.hidden = 8\.5: .*integer"),
        ("head.dropout=1", r"head\.dropout = 1: .* less than 1"),
        ("head.bidirectional=1", r"head\.bidirectional = 1: .*boolean"),
        ("head.kernel=3", r"unknown field head\.kernel \(= 3\) of a recurrent head"),
        ("head.hiden=3", r"head\.hiden \(= 3\) of a recurrent head; did you mean head\.hidden"),
        ("head.kind=tnc", r"head\.kind = 'tnc': known are .*tcn.*; did you mean tcn\?"),
        ("head.kind=[tcn]", r"head\.kind = \['tcn'\]: known are"),
        ("data.standardise=recordings", r"did you mean recording\?"),
        ("augment.crop=0", r"augment\.crop = 0: .* greater than 0"),
        ("augment.drop=1", r"augment\.drop = 1: .* less than 1"),
        (
            "train.imbalance=sampler_root",
            r"train\.imbalance = 'sampler_root'.*did you mean sampler",
        ),
        ("train.imbalance=[sampler, focal]", r"train\.imbalance = \['sampler', 'focal'\]"),
    ],
)
def test_errors_name_field_value_and_nearest_spelling(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("baseline", [override])


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_builds_its_head_from_its_own_fields(name: str) -> None:
    recipe = load_recipe(name)
    options = recipe.head.model_dump(exclude={"num_classes"})
    head = build_head(features=6, classes=3, **options)
    assert head.__class__ is HEADS[recipe.head.kind]
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert head(torch.zeros(2, 4, 6), mask).logits.shape == (2, 3)


@pytest.mark.parametrize("kind", HEADS)
def test_fields_of_a_head_are_its_keyword_arguments_with_their_defaults(kind: str) -> None:
    recipe = load_recipe("baseline", [f"head.kind={kind}"])
    given = recipe.head.model_dump(exclude={"num_classes", "kind"})
    parameters = [
        each
        for each in inspect.signature(HEADS[kind]).parameters.values()
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    if kind == "recurrent":  # the recipe's own kind keeps the recipe's fields
        assert given["hidden"] == 256
    else:
        assert given == {option.name: option.default for option in parameters}


def test_another_kind_may_come_behind_its_own_fields_and_keeps_the_number_of_classes() -> None:
    overrides = ["head.kernel=5", "head.num_classes=4", "head.kind=tcn"]
    head = load_recipe("bilstm", overrides).head.model_dump()
    assert (head["kind"], head["kernel"], head["num_classes"]) == ("tcn", 5, 4)
    assert "cell" not in head
    with pytest.raises(InputError, match=r"head\.cell \(= 'gru'\)"):
        load_recipe("bilstm", ["head.kind=tcn", "head.cell=gru"])


def test_recipes_of_one_kind_are_equal_and_survive_their_dump(tmp_path: Path) -> None:
    recipe = load_recipe("transformer", ["head.heads=8"])
    path = tmp_path / "transformer.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump()))
    assert load_recipe(path) == recipe != load_recipe("transformer")


def test_options_that_do_not_go_together_are_refused_by_name() -> None:
    message = r"recipe attentive: head\.heads is 3; it must divide hidden, 128"
    with pytest.raises(InputError, match=message):
        load_recipe("attentive", ["head.heads=3"])


def test_a_new_head_takes_one_file(tmp_path: Path) -> None:
    package = tmp_path / "models"
    shutil.copytree(ROOT / "models", package, ignore=shutil.ignore_patterns("__pycache__"))
    linear = (package / "heads" / "linear.py").read_text("utf-8")
    (package / "heads" / "first.py").write_text(linear.replace("LinearHead", "FirstHead"), "utf-8")
    code = (
        "from pipeline.train.recipes.load import load_recipe; "
        "print(load_recipe('linear', ['head.kind=first', 'head.pool=max']).head)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "kind='first'" in found.stdout
    assert "pool='max'" in found.stdout


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'bilstn'.*baseline, bilstm, .*;.*bilstm\?"):
        load_recipe("bilstn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("train: 5\n", "train is a section"),
        ("train: {epohcs: 3}\n", r"epohcs \(= 3\); did you mean train\.epochs"),
        ("a: [\n", "not YAML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(path)


def mean_file(folder: Path, *others: object) -> Path:
    path = folder / "mean.yaml"
    path.write_text(yaml.safe_dump({"head": {"kind": "tcn"}, "mean_with": list(others)}))
    return path


def test_a_file_may_name_recipes_to_average(tmp_path: Path) -> None:
    linear = {"name": "plain", "head": {"kind": "linear"}}
    recipe = load_recipe(mean_file(tmp_path, linear, {"train": {"lr": 0.5}}))
    assert recipe.full_name == "mean+plain+recipe 2"
    assert [member.head.kind for member in recipe.members] == ["tcn", "linear", "recurrent"]
    assert [member.train.lr for member in recipe.members] == [1e-3, 1e-3, 0.5]
    assert not any(member.mean_with for member in recipe.members)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([3], r"mean_with = \[3\]: expected a list of recipes"),
        ([{"lr": 0.5}], r"mean_with 1: unknown field lr .*did you mean train\.lr"),
        ([{}, {"train": {"lr": -1}}], r"mean_with 2: train\.lr = -1"),
        ([{"data": {"steps": 8}}], "recipe 1 has other data or train.folds than mean; make them"),
        ([{"train": {"folds": 3}}], "recipe 1 has other data or train.folds than mean; make them"),
        ([{"mean_with": [{}]}], "mean_with 1 has a mean_with too; list its recipes in the first"),
    ],
)
def test_recipes_that_cannot_be_averaged(
    tmp_path: Path, others: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe(mean_file(tmp_path, *others))


def test_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(InputError, match="cannot be read as text"):
        load_recipe(path)


def test_reading_recipes_metrics_and_reports_needs_no_torch() -> None:
    code = (
        "import sys, pipeline.train.recipes.load, pipeline.metrics.classification; "
        "import pipeline.train.imbalance; "
        "import pipeline.report.run, pipeline.runs.folder; "
        "sys.exit(bool({'torch', 'matplotlib', 'zarr'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
