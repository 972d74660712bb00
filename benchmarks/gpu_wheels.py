"""Collect the wheels that a GPU machine without a network lacks.

::

    python3.12 benchmarks/gpu_wheels.py --out wheels [--have scipy scikit-learn matplotlib pillow]

Run it with the Python version of the GPU machine, for requirements may depend on it. torch,
torchvision and numpy are that machine's; name with `--have` what else it has. Copy the folder
there, and run::

    pip install --no-index --no-deps --find-links wheels --target site -r wheels/requirements.txt
"""

from __future__ import annotations

import argparse
import configparser
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEBIBYTE = 2**20
HAVE = ("torch", "torchvision", "numpy")
MORE = ("pytest", "torchcodec")  # for the tests and for NVDEC
SHOWN = 4  # wheels in a message
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def normal(name: str) -> str:
    """Return a package's name in the form that the index uses.

    Examples
    --------
    >>> normal("PyYAML>=6,<7"), normal("annotated_types")
    ('pyyaml', 'annotated-types')
    """
    plain = re.split(r"[^A-Za-z0-9._-]", name.strip(), maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", plain).lower()


def requirements() -> list[str]:
    """Return what both stages need, and the packages for tests and NVDEC."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    extras = config["options.extras_require"]
    texts = (config["options"]["install_requires"], extras["build"], extras["train"])
    return [*(line for text in texts for line in text.split("\n") if line.strip()), *MORE]


def download(names: Iterable[str], folder: Path, python: str) -> None:
    """Download wheels of packages and of what they need, for the GPU machine."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", "--dest", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", f"{platform}_x86_64"]
    command += ["--constraint", str(ROOT / "constraints.txt"), *names]
    subprocess.run(command, check=True)


def lacked(wheels: Iterable[Path], have: set[str]) -> list[Path]:
    """Return the wheels of packages that the machine does not have, the largest first."""
    found = [wheel for wheel in wheels if normal(wheel.name.split("-")[0]) not in have]
    return sorted(found, key=lambda wheel: -wheel.stat().st_size)


def refusal(wheels: Sequence[Path], most: float) -> str:
    """Return why so many bytes are refused; empty if they are not."""
    size = sum(wheel.stat().st_size for wheel in wheels) / MEBIBYTE
    if size <= most:
        return ""
    largest = ", ".join(wheel.name.split("-")[0] for wheel in wheels[:SHOWN])
    return (
        f"The wheels take {size:.0f} MiB, and the limit is {most:g}; name with --have what the GPU "
        f"machine has. The largest are {largest}."
    )


def main(given: Sequence[str] | None = None) -> None:
    """Collect wheels, and refuse more than fits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("wheels"))
    parser.add_argument("--python", default="3.12", help="version on the GPU machine")
    parser.add_argument("--have", nargs="*", default=[], help="more packages that it has")
    parser.add_argument("--most", type=float, default=64, help="MiB that may be carried")
    options = parser.parse_args(given)
    have = {normal(name) for name in (*HAVE, *options.have)}
    if options.out.exists() and any(options.out.iterdir()):
        parser.error(f"--out is {options.out}, which is not empty; name another folder.")
    with tempfile.TemporaryDirectory() as name:
        names = [one for one in requirements() if normal(one) not in have]
        download(names, Path(name), options.python)
        wheels = lacked(Path(name).iterdir(), have)
        if why := refusal(wheels, options.most):
            sys.exit(why)
        options.out.mkdir(parents=True, exist_ok=True)
        for wheel in wheels:
            shutil.copy(wheel, options.out)
    pins = ["==".join(wheel.name.split("-")[:2]) for wheel in wheels]
    (options.out / "requirements.txt").write_text("\n".join(sorted(pins)) + "\n", "utf-8")
    size = sum(wheel.stat().st_size for wheel in options.out.glob("*.whl")) / MEBIBYTE
    print(f"{len(wheels)} wheels, {size:.1f} MiB, in {options.out}")


if __name__ == "__main__":
    main()
