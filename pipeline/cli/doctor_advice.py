"""What `featstore doctor` advises: what is broken, what would be slow, what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

from featstore.text import human_size
from pipeline.cli.doctor_facts import CORE, PURPOSES, lacking

Kind = Literal["broken", "slow", "missing"]
KINDS = get_args(Kind)
LITTLE_DISK = 5e9
LITTLE_MEMORY = 2e9


class Advice(NamedTuple):
    """One thing that a user may want to change.

    Attributes
    ----------
    kind : {"broken", "slow", "missing"}
    what : str
    remedy : str
        A command, or a sentence.
    """

    kind: Kind
    what: str
    remedy: str


def advice(found: dict[str, Any]) -> list[Advice]:
    """Return advice for the facts of a machine, the most important first.

    Parameters
    ----------
    found : dict
        From `pipeline.cli.doctor_facts.facts`.
    """
    every = [
        *_packages(found),
        *_gpu(found["gpus"], found["extras"]["build"]),
        *_processor(found["processor"], found["threads"]),
        *_disk(found["disk"]),
    ]
    return sorted(every, key=lambda each: KINDS.index(each.kind))


def _packages(found: dict[str, Any]) -> Iterator[Advice]:
    named: set[str] = set()
    for extra, purpose in PURPOSES.items():
        packages = found["extras"][extra]
        for package in packages:
            if package["version"] and not package["fits"] and package["name"] not in named:
                named.add(package["name"])
                yield Advice(
                    "broken",
                    f"{package['name']} {package['version']} is installed, but featstore needs "
                    f"{package['needs']}",
                    f"pip install '{package['name']}{package['needs']}'",
                )
        if any(package["version"] is None for package in packages):
            kind: Kind = "broken" if extra == CORE else "missing"
            install = f"pip install {' '.join(lacking(found, extra))}"
            yield Advice(kind, f"packages for {purpose}", install)
    torchcodec = found["decoders"].get("torchcodec", {})
    if not torchcodec.get("works", True) and torchcodec["why"] != "not installed":
        yield Advice("broken", torchcodec["why"], "leave --decoder out: pyav is the default")
    torch = next(
        (each["version"] for each in found["extras"]["build"] if each["name"] == "torch"), None
    )
    if torch is not None and found["threads"]["torch"] is None:
        yield Advice(
            "broken",
            f"torch {torch} is installed but cannot be loaded",
            "python -c 'import torch' shows why",
        )


def _gpu(gpus: dict[str, Any], build: list[dict[str, Any]]) -> Iterator[Advice]:
    torch = next((each["version"] for each in build if each["name"] == "torch"), None)
    if torch is None or gpus["devices"]:
        return
    if gpus["driver"] and gpus["cuda"] is None:
        yield Advice(
            "slow",
            f"this machine has an NVIDIA driver, but torch {torch} is a build for CPUs",
            "pip install --force-reinstall torch torchvision",
        )
    elif gpus["driver"]:
        yield Advice(
            "slow",
            f"this machine has an NVIDIA driver, but torch (CUDA {gpus['cuda']}) finds no GPU",
            "compare the driver's CUDA version, which nvidia-smi shows, with torch's",
        )
    else:
        yield Advice(
            "slow",
            "no GPU: backbones run on the processors",
            "a small --backbone (mobilenet_v2) and a low --fps make builds faster",
        )


def _processor(processor: dict[str, Any], threads: dict[str, Any]) -> Iterator[Advice]:
    count, quota = processor["processors"], processor["quota"]
    if quota is not None and quota < count:
        few = max(1, round(quota))
        yield Advice(
            "slow",
            f"this container may use {quota:g} of {count} processors, but {count} threads start",
            f"export OMP_NUM_THREADS={few}, and pass --workers {few}",
        )
    elif threads["torch"] is not None and threads["torch"] < count:
        yield Advice(
            "slow",
            f"torch uses {threads['torch']} of {count} processors",
            "unset OMP_NUM_THREADS, unless other work needs the rest",
        )
    if (threads["OMP_WAIT_POLICY"] or "").casefold() == "active":
        yield Advice(
            "slow",
            "OMP_WAIT_POLICY is active: waiting threads take the processors from working ones",
            "unset OMP_WAIT_POLICY",
        )
    if processor.get("instructions") == "DEFAULT":
        yield Advice("slow", "this processor has no AVX2", "use another machine for builds")
    free = processor["memory_free"]
    if free is not None and free < LITTLE_MEMORY:
        yield Advice(
            "slow", f"{human_size(free)} of memory are free", "end other programs, or add memory"
        )


def _disk(disk: dict[str, Any]) -> Iterator[Advice]:
    if disk["free"] < LITTLE_DISK:
        yield Advice(
            "slow",
            f"{human_size(disk['free'])} are free in {disk['folder']}",
            "pass --stores with a folder on a larger disk",
        )
    if disk["network"]:
        yield Advice(
            "slow",
            f"{disk['folder']} is on a network file system ({disk['network']})",
            "pass --stores with a folder on a local disk",
        )
