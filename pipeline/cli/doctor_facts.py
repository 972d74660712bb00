"""What `featstore doctor` looks at: packages, processor, GPUs, decoders, disk and threads."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipeline.system.threads import processors

NAME = "featstore"
CORE = "core"
# Extras that people install, and what for. `demo` and the developers' extras are not here.
PURPOSES = {
    CORE: "reading stores and runs",
    "build": "build, stats, why, demo-data",
    "train": "train, evaluate, compare, report",
    "sweep": "sweep",
    "browse": "browse",
    "tensorboard": "train --log tensorboard",
    "mlflow": "train --log mlflow",
    "timm": "backbones of timm",
    "hf": "backbones of transformers, hf:FOLDER",
    "dask": "--dask: several processes or machines",
    "s3": "stores in S3 buckets",
    "export": "export-model to ONNX",
    "torchcodec": "--decoder torchcodec",
}
# Decoders of FFmpeg by the names that people use.
CODECS = {
    "H.264": "h264",
    "HEVC": "hevc",
    "VP8": "vp8",
    "VP9": "vp9",
    "AV1": "libdav1d",
    "MPEG-4": "mpeg4",
    "MPEG-2": "mpeg2video",
    "MJPEG": "mjpeg",
    "FFV1": "ffv1",
    "ProRes": "prores",
}
MOUNTS = Path("/proc/mounts")
MEMORY = Path("/proc/meminfo")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
DRIVER = Path("/proc/driver/nvidia/version")
NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "lustre", "beegfs", "glusterfs", "9p")


@dataclass(frozen=True, slots=True)
class Package:
    """One package that an extra needs.

    Attributes
    ----------
    name : str
    needs : str
        Its versions, such as ``<3,>=2.5``.
    version : str or None
        The installed version.
    """

    name: str
    needs: str
    version: str | None

    @property
    def fits(self) -> bool:
        """Whether it is installed in a version that the extra needs."""
        return self.version is not None and Requirement(
            f"{self.name}{self.needs}"
        ).specifier.contains(self.version, prereleases=True)


def facts(folder: Path) -> dict[str, Any]:
    """Return what there is on this machine, as plain values for JSON.

    Parameters
    ----------
    folder : Path
        The folder of stores, which need not exist.
    """
    return {
        "featstore": _version(NAME),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "extras": {
            name: [asdict(package) | {"fits": package.fits} for package in packages(name)]
            for name in PURPOSES
        },
        "processor": _processor(),
        "threads": _threads(),
        "gpus": _gpus(),
        "decoders": _decoders(),
        "disk": _disk(folder),
    }


def packages(extra: str) -> list[Package]:
    """Return the packages of an extra, without those of the extras that it contains.

    Parameters
    ----------
    extra : str
        Its name, or `CORE` for what every installation needs.
    """
    try:
        lines = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:  # runs from a checkout that is not installed
        return []
    needed = map(Requirement, lines)
    return [
        Package(each.name, str(each.specifier), _version(each.name))
        for each in needed
        if each.name != NAME and (each.marker is None if extra == CORE else _is_of(each, extra))
    ]


def _is_of(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": extra})


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    found: dict[str, Any] = {"processors": processors(), "quota": _quota(), "memory_free": None}
    if MEMORY.exists():
        lines = MEMORY.read_text("utf-8").splitlines()
        found["memory_free"] = next(
            (1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line), None
        )
    if torch := _torch():
        from pipeline.system.device import has_bf16

        found |= {
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "bf16": has_bf16(),
        }
    return found


def _quota() -> float | None:
    """Return how many processors a container may use, or None without a limit."""
    try:
        most, period = QUOTA.read_text("utf-8").split()
    except (OSError, ValueError):
        return None
    return None if most == "max" else int(most) / int(period)


def _threads() -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    torch = _torch()
    return {
        "torch": torch.get_num_threads() if torch else None,
        **{name: os.environ.get(name) for name in names},
    }


def _gpus() -> dict[str, Any]:
    """Return the GPUs that torch finds, and whether the machine has an NVIDIA driver."""
    found: dict[str, Any] = {"driver": DRIVER.exists(), "cuda": None, "devices": []}
    if torch := _torch():
        found["cuda"] = torch.version.cuda
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            each = torch.cuda.get_device_properties(number)
            found["devices"].append(
                {
                    "name": each.name,
                    "memory": each.total_memory,
                    "capability": f"{each.major}.{each.minor}",
                }
            )
    return found


def _torch() -> Any:
    """Return torch, or None where it is missing or cannot be loaded."""
    try:
        import torch
    except (ImportError, OSError):
        return None
    return torch


def _decoders() -> dict[str, Any]:
    found: dict[str, Any] = {"ffmpeg": None, "codecs": [], "missing": []}
    try:
        import av
        from av.codec import Codec
    except (ImportError, OSError):
        return found
    found["ffmpeg"] = av.ffmpeg_version_info
    for name, codec in CODECS.items():
        try:
            Codec(codec, "r")
        except ValueError:  # av.codec.codec.UnknownCodecError
            found["missing"].append(name)
        else:
            found["codecs"].append(name)
    return found | {"torchcodec": _torchcodec()}


def _torchcodec() -> dict[str, Any]:
    from featstore.errors import InputError

    if _version("torchcodec") is None:
        return {"works": False, "why": "not installed"}
    try:
        from pipeline.video.decoders import versions

        return {"works": True, **versions("torchcodec:cpu")}
    except (InputError, ImportError) as error:
        return {"works": False, "why": str(error)}


def _disk(folder: Path) -> dict[str, Any]:
    absolute = folder.absolute()
    there = next(path for path in (absolute, *absolute.parents) if path.exists())
    return {
        "folder": str(folder),
        "free": shutil.disk_usage(there).free,
        "network": _network(there),
    }


def _network(path: Path) -> str | None:
    """Return the type of the network file system that a path is on, or None."""
    try:
        mounts = [line.split() for line in MOUNTS.read_text("utf-8").splitlines()]
    except OSError:
        return None
    around = {str(parent) for parent in (path.resolve(), *path.resolve().parents)}
    kinds = {point: kind for _, point, kind, *_ in mounts if point in around}
    kind = kinds[max(kinds, key=len)] if kinds else ""
    return kind if kind.startswith(NETWORK) else None


def lacking(found: dict[str, Any], extra: str) -> Iterator[str]:
    """Yield what pip must install for an extra, as it is written in a shell."""
    for package in found["extras"][extra]:
        if not package["fits"]:
            yield f"'{package['name']}{package['needs']}'"
