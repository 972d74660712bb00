"""Where a training stands after an epoch: tensors as safetensors, all else as JSON beside them.

One file holds both, the JSON in its metadata, and is replaced by rename, so a killed process leaves
the state of its last epoch. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, optim

from featstore import InputError
from featstore.json_text import parse_object

Tensors = dict[str, Tensor]
Json = dict[str, Any]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], values: Json) -> None:
    """Write a checkpoint; `path` is never there in part.

    Parameters
    ----------
    path : Path
    tensors : mapping of tensors
    values : dict
        Strict JSON.
    """
    # Clones, for parameters may be views of one storage, which the format does not have.
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    part = path.with_suffix(".part")
    part.write_bytes(save(own, metadata={"values": json.dumps(values, allow_nan=False)}))
    part.replace(path)


def read_checkpoint(path: Path) -> tuple[Tensors, Json]:
    """Read what `write_checkpoint` wrote.

    Raises
    ------
    InputError
        If it is not whole, as after a power cut.
    """
    try:
        with safe_open(path, "pt") as file:
            values = parse_object(file.metadata()["values"])
            return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); delete the folder {path.parent} to train anew"
        ) from None


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Put a prefix before names; `under` takes it away."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Return the tensors whose names have a prefix, without it."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def optimizer_state(optimizer: optim.Optimizer) -> tuple[Tensors, Json]:
    """Return what an optimiser remembers."""
    state = optimizer.state_dict()
    tensors = {
        f"{number}.{name}": tensor
        for number, own in state["state"].items()
        for name, tensor in own.items()
    }
    return tensors, {"param_groups": state["param_groups"]}


def restore_optimizer(optimizer: optim.Optimizer, tensors: Tensors, values: Json) -> None:
    """Undo `optimizer_state`."""
    state: dict[int, Tensors] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": values["param_groups"]})


def generator_state(owner: object, device: torch.device) -> tuple[Tensors, Json]:
    """Return the state of every generator: torch's own, and those that are attributes of `owner`.

    Found by their types, so that none is forgotten when another one is added.
    """
    tensors, values = {"torch": torch.get_rng_state()}, {}
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    for name, value in vars(owner).items():
        if isinstance(value, torch.Generator):
            tensors[f"own.{name}"] = value.get_state()
        elif isinstance(value, np.random.Generator):
            values[name] = value.bit_generator.state
    return tensors, values


def restore_generators(owner: object, device: torch.device, tensors: Tensors, values: Json) -> None:
    """Undo `generator_state`."""
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["cuda"], device)
    for name, state in under("own", tensors).items():
        getattr(owner, name).set_state(state)
    for name, state in values.items():
        getattr(owner, name).bit_generator.state = state
