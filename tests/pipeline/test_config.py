import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from featstore.errors import InputError
from pipeline.config import load_recipe, recipe_names


def test_recipes_that_come_along() -> None:
    assert recipe_names() == ["baseline", "bilstm"]
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
        ("train.imbalance=[sampler, focal]", r"train\.imbalance = \['sampler', 'focal'\]"),
    ],
)
def test_errors_name_field_value_and_nearest_spelling(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("baseline", [override])


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'bilstn'.*baseline, bilstm; did you mean bilstm\?"):
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


def test_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(InputError, match="cannot be read as text"):
        load_recipe(path)


def test_reading_recipes_metrics_and_reports_needs_no_torch() -> None:
    code = (
        "import pipeline.config, pipeline.metrics, pipeline.imbalance, sys; "
        "import pipeline.report, pipeline.run; "
        "sys.exit(bool({'torch', 'matplotlib', 'zarr'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
