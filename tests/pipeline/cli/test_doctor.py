"""``featstore doctor``: what it sees, and what it advises."""

import configparser
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import doctor_facts, main
from pipeline.cli.doctor_advice import advice
from pipeline.cli.doctor_facts import CORE, PURPOSES, Package, facts
from tests.folders import ROOT
from tests.test_extras import commands


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return facts(tmp_path_factory.mktemp("doctor") / "features")


@pytest.fixture
def well(here: dict[str, Any]) -> dict[str, Any]:
    """The facts of a machine that lacks nothing."""
    found = copy.deepcopy(here)
    for packages in found["extras"].values():
        for package in packages:
            package |= {"version": package["version"] or "1.0", "fits": True}
    found["processor"] |= {"processors": 2, "quota": None, "instructions": "AVX2"}
    found["processor"]["memory_free"] = 8e9
    found["threads"] = {"torch": 2, "OMP_NUM_THREADS": None, "OMP_WAIT_POLICY": None}
    found["gpus"] = {"driver": True, "cuda": "12.8", "devices": [{"name": "H200"}]}
    found["decoders"]["torchcodec"] = {"works": True}
    found["disk"] = {"folder": "features", "free": 1e12, "network": None}
    return found


def test_json_has_the_facts_and_the_advice(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--json", "--stores", str(tmp_path)])
    found = json.loads(result.stdout)
    assert set(found["extras"]) == set(PURPOSES)
    assert {each["name"] for each in found["extras"]["build"]} >= {"torch", "av"}
    assert "H.264" in found["decoders"]["codecs"]
    assert found["disk"]["free"] > 0
    broken = [each for each in found["advice"] if each["kind"] == "broken"]
    assert result.exit_code == bool(broken)


def test_text_names_every_extra() -> None:
    printed = CliRunner().invoke(main, ["doctor"]).stdout
    assert [extra for extra in PURPOSES if f"\n  {extra}" not in printed] == []


def test_every_extra_of_the_installation_has_a_purpose() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    others = {"all", "demo", "docs", "test"}
    assert set(config["options.extras_require"]) - others == set(PURPOSES) - {CORE}


def test_nothing_to_advise(well: dict[str, Any]) -> None:
    assert advice(well) == []


@pytest.mark.parametrize(
    ("part", "change", "kind", "words"),
    [
        ("gpus", {"devices": [], "driver": False}, "slow", "no GPU"),
        ("gpus", {"devices": [], "cuda": None}, "slow", "--force-reinstall torch"),
        ("gpus", {"devices": []}, "slow", "nvidia-smi"),
        ("processor", {"processors": 64, "quota": 2.0}, "slow", "OMP_NUM_THREADS=2"),
        ("processor", {"processors": 8}, "slow", "2 of 8"),
        ("processor", {"memory_free": 1e9}, "slow", "1.00 GB"),
        ("processor", {"instructions": "DEFAULT"}, "slow", "AVX2"),
        ("threads", {"OMP_WAIT_POLICY": "ACTIVE"}, "slow", "unset OMP_WAIT_POLICY"),
        ("threads", {"torch": None}, "broken", "cannot be loaded"),
        ("disk", {"free": 1e9}, "slow", "--stores"),
        ("disk", {"network": "nfs4"}, "slow", "nfs4"),
        ("decoders", {"torchcodec": {"works": False, "why": "no FFmpeg"}}, "broken", "no FFmpeg"),
    ],
)
def test_advice(
    well: dict[str, Any], part: str, change: dict[str, Any], kind: str, words: str
) -> None:
    well[part] |= change
    (found,) = advice(well)
    assert found.kind == kind
    assert words in f"{found.what} {found.remedy}"


def test_missing_and_unfit_packages_have_a_command(well: dict[str, Any]) -> None:
    (optuna,) = well["extras"]["sweep"]
    optuna |= {"version": None, "fits": False, "needs": "<6,>=4.0"}
    timm = well["extras"]["timm"][0]
    timm |= {"version": "0.9", "fits": False, "needs": "<2,>=1.0"}
    broken, missing = advice(well)
    assert (broken.kind, broken.remedy) == ("broken", "pip install 'timm<2,>=1.0'")
    assert (missing.kind, missing.remedy) == ("missing", "pip install 'optuna<6,>=4.0'")


@pytest.mark.parametrize(
    ("version", "fits"),
    [("2.13.0+cpu", True), ("2.14.0.dev1", True), ("3.0", False), (None, False)],
)
def test_versions(version: str | None, fits: bool) -> None:
    assert Package("torch", "<3,>=2.5", version).fits is fits


def test_network_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(doctor_facts, "MOUNTS", mounts)
    assert facts(tmp_path / "a/b")["disk"]["network"] == "nfs4"


def test_quota_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(doctor_facts, "QUOTA", quota)
    for text, expected in (("150000 100000", 1.5), ("max 100000", None)):
        quota.write_text(text)
        assert facts(tmp_path)["processor"]["quota"] == expected


def test_without_the_packages_of_the_extras() -> None:
    printed = commands(("doctor",))
    assert "PyAV is not installed" in printed
    assert "Traceback" not in printed
    assert "EXIT 1" in printed  # they are installed, and cannot be imported
