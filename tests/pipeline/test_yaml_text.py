"""YAML that is no configuration is a sentence, whatever PyYAML makes of it."""

from pathlib import Path

import pytest

from featstore.errors import InputError
from pipeline.sweep import load_space
from pipeline.train.recipes.load import load_recipe
from pipeline.yaml_text import MOST_DEPTH, MOST_NODES, parse_yaml, read_yaml, short


def bomb(times: int, levels: int) -> str:
    names = [f"- &a{i} [{','.join([f'*a{i - 1}'] * times)}]" for i in range(1, levels)]
    return "\n".join([f"- &a0 [{','.join('x' * times)}]", *names])


BAD = {
    "date": "train: {lr: 2026-13-01}",
    "integer": "train: {batch_size: 0x_}",
    "digits": "train: {epochs: " + "9" * 5000 + "}",
    "hexadecimal digits": "train: {epochs: 0x" + "f" * 5000 + "}",
    "deep": "[" * 1500 + "]" * 1500,
    "deep by aliases": bomb(1, MOST_DEPTH + 2),
    "in itself": "train: &a\n  x: *a\n",
    "aliases": bomb(10, 9),
    "tag of a type": "train: {lr: !!timestamp x}",
    "tag of a boolean": "train: {lr: !!bool x}",
    "empty integer": "train: {lr: !!int ''}",
    "Python": "train: !!python/object:os.system x",
    "half a surrogate pair": 'name: "\\ud800"',
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_sentence_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    for read in (load_recipe, load_space, read_yaml):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", ["2026-13-01", "0x_", "9" * 5000, "[" * 1500, bomb(10, 9)])
def test_a_sentence_that_names_the_flag(value: str) -> None:
    with pytest.raises(InputError, match=r"--set train\.lr="):
        load_recipe("linear", [f"train.lr={value}"])


def test_anchors_and_long_lists_are_read() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: 1}}", "") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": 1},
    }
    assert len(parse_yaml("[" + "x," * 20_000 + "]", "")) == 20_000
    assert MOST_NODES > 20_000


def test_a_long_value_is_cut_in_messages(tmp_path: Path) -> None:
    assert len(short([["x" * 1000] * 1000] * 1000)) < 2000
    (tmp_path / "long.yaml").write_text("[" + "x," * 20_000 + "]")
    with pytest.raises(InputError) as caught:
        load_recipe(tmp_path / "long.yaml")
    assert len(str(caught.value)) < 1000
