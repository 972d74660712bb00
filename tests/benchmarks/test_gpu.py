"""The benchmark for a GPU, on the CPU with tiny sizes: that every step runs and reports."""

import argparse
import json
import math
import runpy
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.drawing import figures
from tests.folders import ROOT

HERE = ROOT / "benchmarks"
HANGS = """
import subprocess, sys, time
from pathlib import Path
name, out = (sys.argv[sys.argv.index(flag) + 1] for flag in ("--step", "--out"))
child = subprocess.Popen(["sleep", "600"])
rows = Path(out, "steps", f"{name}.jsonl")
rows.write_text('{"child": %d}\\n{"cut' % child.pid)
time.sleep(600)
"""
FAILS = "raise SystemExit('the last line')"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(HERE)
    import gpu

    return gpu


def options_of(out: Path, **more: Any) -> argparse.Namespace:
    (out / "steps").mkdir(parents=True, exist_ok=True)
    quick = {"device": "cpu", "quick": True, "minutes": 1.0, "ends": time.time() + 600}
    return argparse.Namespace(out=out, **(quick | more))


def written(out: Path, name: str) -> list[dict[str, Any]]:
    lines = (out / "steps" / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_step(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_device

    monkeypatch.setattr(gpu_device, "QUICK_TESTS", ("tests/featstore/test_text.py",))
    monkeypatch.setattr(gpu_device, "ROOT", ROOT)
    options, steps = options_of(tmp_path), [name for name in gpu.STEPS if name != "torchrun"]
    with figures(drawn=False):
        for name in steps:
            gpu.work(name, options)
    rows = {name: written(tmp_path, name) for name in steps}
    report = {"quick": True, "seconds": 1.0, "steps": {name: {"rows": rows[name]} for name in rows}}

    alone, *builds = rows["builds"]
    assert alone["decode_alone"] > 0
    done = {(row["backbone"], row["precision"]): row for row in builds if "error" not in row}
    assert {name for name, _ in done} == {"resnet18", "r3d_18"}
    for name in ("resnet18", "r3d_18"):
        row = done[name, "float32"]
        assert row["clips"] == rows["recordings"][0]["clips"] > 3
        assert row["frames_per_second"] == pytest.approx(row["frames"] / row["extraction"])
        parts = [alone["decode_alone"], alone["copy_alone"], row["backbone_alone"]]
        assert row["share"] == pytest.approx(sum(parts) / row["extraction"])
        assert row["deviation"]["relative_rms"] < 1e-6
        assert row["deviation"]["steps"] > 2
    refused = [row["error"] for row in builds if row["precision"] == "tf32"]
    assert len(refused) == 2
    assert all("needs a GPU" in error for error in refused)

    assert {row["recipe"] for row in rows["training"]} == {"bilstm", "tcn"}
    times = [row[key] for row in rows["training"] for key in ("epoch", "whole")]
    times += [row["whole"] for row in rows["seeds"]] + [rows["finetuning"][0]["epoch"]]
    assert all(0 < seconds < math.inf for seconds in times)
    assert "passed" in rows["tests"][0]["closing_line"]
    [memory] = rows["memory"]
    assert "start again with --batch-size 2" in memory["sentence"]
    assert memory["same_bytes"]
    assert "frames_per_second" in rows["nvdec"][0]
    assert rows["device"][0]["torch"]

    from gpu_tables import tables

    text = tables(report)
    assert "| resnet18 | float32 | " in text
    assert "- builds, resnet18, tf32: --precision is tf32, which needs a GPU" in text
    gpu.work("builds", options_of(tmp_path, ends=time.time() - 1))
    assert {row.get("skipped") for row in written(tmp_path, "builds")[1:]} == {
        "the budget was spent"
    }


def test_one_process_with_a_process_group(
    gpu: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from gpu_lab import Lab
    from gpu_train import clips_of

    (tmp_path / "work").mkdir()
    store = clips_of(Lab(tmp_path / "work", "cpu", True, time.time() + 60))
    monkeypatch.setattr(sys, "argv", ["gpu_nccl.py", str(store.path), "cpu"])
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "0")
    runpy.run_path(str(HERE / "gpu_nccl.py"), run_name="__main__")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["backend"] == "gloo"
    assert found["sum"] == [1.0] * 3
    assert found["losses_differ_by"] < 1e-6


def test_a_row_that_fails_is_reported(gpu: ModuleType, tmp_path: Path) -> None:
    gpu.work("memory", options_of(tmp_path))
    [row] = written(tmp_path, "memory")
    assert row["error"].endswith("few.csv is missing; run the step recordings first.")


def test_the_command_writes_its_report_after_every_step(gpu: ModuleType, tmp_path: Path) -> None:
    gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path), "--only", "device"])
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["steps"]["device"]["rows"][0]["device"] == "cpu"
    assert "device: cpu" in (tmp_path / "gpu.md").read_text()


def run(gpu: ModuleType, script: str, out: Path, monkeypatch: Any, **more: Any) -> dict[str, Any]:
    """Run a step whose process runs a script."""
    path = out / "script.py"
    path.write_text(script)
    monkeypatch.setattr(gpu, "__file__", str(path))
    monkeypatch.setattr(gpu, "GRACE", 0)
    options = options_of(out, **more)
    found: dict[str, Any] = gpu.run("device", gpu.Step("a:b", 0.05), options, options.ends)
    return found


def test_a_step_that_hangs_is_ended(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(gpu, HANGS, tmp_path, monkeypatch)
    assert found["error"] == "stopped after 3 s, its part of the time"
    [row] = found["rows"]  # without the one that was cut off
    while is_running(row["child"]):  # its end was sent, and takes a moment
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_step_that_ends_early_says_why(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(gpu, FAILS, tmp_path, monkeypatch)["error"] == "the last line"
    spent = run(gpu, FAILS, tmp_path, monkeypatch, ends=time.time() - 1)
    assert spent == {"skipped": "the budget of 1 minutes was spent"}
