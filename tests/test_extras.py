"""What each extra brings, and what is said where it is missing."""

import configparser
from pathlib import Path
from typing import Any

import pytest

from featstore.extras import EXTRAS
from tests.stores import SIZES, contents, write_store
from tests.test_architecture import ROOT, run

HEAVY = tuple(EXTRAS["all"])
CODE = """
import sys
from pipeline.cli import main
sys.stderr = sys.stdout
for arguments in {several!r}:
    try:
        main(arguments, standalone_mode=False)
    except SystemExit as ended:
        print("EXIT", ended.code)
"""


def commands(*several: tuple[str, ...], hidden: tuple[str, ...] = HEAVY) -> str:
    """Run commands where some modules are not installed; return what they printed."""
    # annotated_types comes with pydantic.
    return " ".join(run(CODE.format(several=several), *(set(hidden) - {"annotated_types"})))


def test_the_table_of_extras_is_that_of_the_installation() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    extras = config["options.extras_require"]
    for extra in ("build", "train", "browse"):
        listed = {line.partition(">")[0] for line in extras[extra].split()}
        assert listed == set(EXTRAS[extra].values())
    assert extras["all"].split() == ["featstore[build,train]"]


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_stores_are_read_without_extras(tmp_path: Path, suffix: str) -> None:
    written: dict[str, Any] = {
        "statistics": {"mean": [0.4], "std": [0.2], "origin": "fixed"},
        "steps": sum(SIZES),
        "repeated_last_frame": 0,
        "numerics": {},
        "untrained": False,
    }
    path = str(write_store(tmp_path / f"s{suffix}", contents(**written)))
    assert "EXIT" not in commands(
        ("ls", "--stores", str(tmp_path)),
        ("info", path),
        ("verify", path),
        ("export", path, str(tmp_path / "arrays"), "--format", "npy"),
        ("export", path, str(tmp_path / f"copy{suffix}")),
    )


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["build", "--source", "table"], "build"),
        (["stats", "--source", "table"], "build"),
        (["train"], "train"),
        (["finetune", "--source", "table", "--out", "x.safetensors"], "all"),
    ],
)
def test_what_is_missing_is_said_with_how_to_install_it(
    tmp_path: Path, arguments: list[str], extra: str
) -> None:
    table = tmp_path / "clips.csv"
    rows = [f"{part}.mp4,0,1,a,{part},{part}" for part in ("train", "val", "test")]
    table.write_text("\n".join(["video,start,end,label,subject,split", *rows]), "utf-8")
    for part in ("train", "val", "test"):
        (tmp_path / f"{part}.mp4").write_bytes(b"none")
    more = ["--store", str(write_store(tmp_path / "s.zarr"))]
    if extra != "train":
        more = ["--data", str(table), "--stores", str(tmp_path)]
        more = more[:2] if arguments[0] == "finetune" else more
    printed = commands((*arguments, *more))
    assert printed.endswith("EXIT 2")
    assert f"'.[{extra}]'" in printed
    assert "pip install" in printed
    assert "Traceback" not in printed


def test_only_what_is_missing_is_named(tmp_path: Path) -> None:
    path = str(write_store(tmp_path / "s.zarr"))
    printed = commands(("train", "--store", path), hidden=("torch",))
    assert "pip install torch (" in printed


def test_python_says_it_as_the_command_does(tmp_path: Path) -> None:
    path = str(write_store(tmp_path / "s.zarr"))
    code = f"""
import featstore
try:
    featstore.train(featstore.open({path!r}))
except featstore.MissingPackageError as error:
    print(error)
"""
    assert "torch" in run(code, "torch")
