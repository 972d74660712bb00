"""Everything that a GPU has to show, in one command of a few minutes.

::

    python benchmarks/gpu.py [--minutes 8] [--device cuda] [--out gpu]

It draws and encodes its own recording, needs no network, and writes ``gpu.json`` and ``gpu.md``
into the folder of `--out` after every step. A step runs in a process of its own: if it fails,
crashes or hangs, the report says so and the next step begins. Steps that no time is left for are
named. ``--device cpu --quick`` runs the same steps with tiny sizes, to test the script.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GRACE = 5  # seconds that a step gets beyond its time, to end by itself
USUAL = {"GOMP_SPINCOUNT": "30000"}  # as `featstore` sets it


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the benchmark.

    Attributes
    ----------
    function : str
        ``module:name``; it takes a `gpu_lab.Lab` and yields rows.
    share : float
        Of the whole time, the most that the step may take.
    """

    function: str
    share: float

    def load(self) -> Callable[[Any], Iterator[dict[str, Any]]]:
        """Import the function."""
        module, _, name = self.function.partition(":")
        function: Callable[[Any], Iterator[dict[str, Any]]] = getattr(import_module(module), name)
        return function


# In the order of importance, for the last ones may find no time left.
STEPS = {
    "device": Step("gpu_device:describe", 0.1),
    "recordings": Step("gpu_build:record", 0.2),
    "reference": Step("gpu_build:refer", 0.15),
    "builds": Step("gpu_build:measure", 0.45),
    "tests": Step("gpu_device:test", 0.25),
    "training": Step("gpu_train:learn", 0.2),
    "memory": Step("gpu_memory:exhaust", 0.1),
    "torchrun": Step("gpu_train:launch", 0.1),
    "nvdec": Step("gpu_build:nvdec", 0.1),
    "finetuning": Step("gpu_train:tune", 0.1),
    "seeds": Step("gpu_train:repeat_seeds", 0.25),
}


def run(name: str, step: Step, options: argparse.Namespace, ends: float) -> dict[str, Any]:
    """Run a step in a process of its own; return its seconds, rows, and why it ended early."""
    began = time.time()
    left = ends - began
    if left <= 0:
        return {"skipped": f"the budget of {options.minutes:g} minutes was spent"}
    most = min(left, step.share * 60 * options.minutes)
    rows, log = (options.out / "steps" / f"{name}.{suffix}" for suffix in ("jsonl", "log"))
    rows.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--step", name, "--ends", str(began + most)]
    command += ["--device", options.device, "--out", options.out, *["--quick"] * options.quick]
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH")]
    environment = USUAL | os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
        try:
            code: int | None = process.wait(most + GRACE)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
    found: dict[str, Any] = {"seconds": time.time() - began, "rows": read_rows(rows)}
    if code is None:
        found["error"] = f"stopped after {most:.0f} s, its part of the time"
    elif code:
        found["error"] = last_line(log) or f"ended with code {code}"
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """End a step and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows that a step has written; the last line may be cut off."""
    rows = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def last_line(log: Path) -> str:
    """Return the last line of a log: of a traceback, the error."""
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def work(name: str, options: argparse.Namespace) -> None:
    """Be the process of a step: write each row as soon as it is known."""
    from gpu_lab import Lab

    folder = options.out / ("quick" if options.quick else "work")
    lab = Lab(folder, options.device, options.quick, options.ends)
    folder.mkdir(parents=True, exist_ok=True)
    with (options.out / "steps" / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
        for row in STEPS[name].load()(lab):
            print(json.dumps(row), file=stream, flush=True)


def write(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Write the report as JSON and as Markdown, whole or not at all."""
    from gpu_tables import tables

    for name, text in (("gpu.json", json.dumps(report, indent=1)), ("gpu.md", tables(report))):
        part = options.out / f"{name}.part"
        part.write_text(text + "\n", "utf-8")
        part.replace(options.out / name)


def main(given: list[str] | None = None) -> None:
    """Run every step and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8, help="for all steps together")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder of the report")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), help="steps to run")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--ends", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    options.out = options.out.absolute()
    (options.out / "steps").mkdir(parents=True, exist_ok=True)
    if options.step:
        work(options.step, options)
        return
    began = time.time()
    report: dict[str, Any] = {"quick": options.quick, "minutes": options.minutes, "steps": {}}
    for name in options.only or STEPS:
        print(f"{time.time() - began:5.0f} s  {name}", flush=True)
        report["steps"][name] = run(name, STEPS[name], options, began + 60 * options.minutes)
        report["seconds"] = time.time() - began
        write(options, report)
    print((options.out / "gpu.md").read_text("utf-8"))


if __name__ == "__main__":
    main()
