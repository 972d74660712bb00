"""The steps of `gpu.py` that describe the machine and run the tests that need its GPU."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch
from gpu_lab import Lab, Row

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "torchvision", "av", "zarr", "h5py", "numcodecs", "pydantic", "torchcodec")
TESTS = ("tests/gpu", "tests/pipeline/video/test_torchcodec.py")
QUICK_TESTS = ("tests/gpu/test_copies.py",)
FAILURE = re.compile(r"^(FAILED|ERROR) ")


def describe(lab: Lab) -> Iterator[Row]:
    """Return the device, its driver, the processors and the versions."""
    device = lab.where
    facts: Row = {"device": lab.device, "processor": processor(), "processors": os.cpu_count()}
    facts |= {"python": platform.python_version(), "torch": torch.__version__}
    facts |= {name: version(name) for name in PACKAGES}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device"] = properties.name
        facts |= {"memory": properties.total_memory, "gpus": torch.cuda.device_count()}
        facts["capability"] = f"{properties.major}.{properties.minor}"
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        facts |= {"nccl": ".".join(map(str, torch.cuda.nccl.version())), "driver": driver()}
    yield facts


def version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")  # Linux
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def driver() -> str | None:
    """Return the version of NVIDIA's driver; None if the machine does not tell."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip().partition("\n")[0] or None


def test(lab: Lab) -> Iterator[Row]:
    """Run the tests that need a GPU; without one, some of them on the CPU."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-rfE", "-W", "default"]
    command += ["-p", "no:cacheprovider"]
    if lab.quick:
        command += QUICK_TESTS
    else:
        command += ["-m", "gpu", *TESTS]
    # The features to compare with are the CPU's.
    threads = {"OMP_NUM_THREADS": str(min(8, os.cpu_count() or 1))}
    done = subprocess.run(
        command, cwd=ROOT, env=threads | os.environ, capture_output=True, text=True
    )
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
    yield {"closing_line": lines[-1] if lines else "", "code": done.returncode}
    for line in filter(FAILURE.match, lines):
        yield {"failure": line}
