"""The checkpoint after an epoch: tensors as safetensors, everything else as JSON.

One file holds both, the JSON in its metadata. It is replaced by a rename, so a killed process
leaves the state of its last epoch. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, optim

from featstore import InputError
from featstore.json_text import parse_object
from featstore.keys import Json

Tensors = dict[str, Tensor]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], values: Json) -> None:
    """Write a checkpoint atomically.

    Parameters
    ----------
    path : Path
    tensors : mapping of tensors
    values : dict
        Strict JSON.
    """
    # Clones: parameters may be views of one storage, which the format does not support.
    cloned = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    part = path.with_suffix(".part")
    part.write_bytes(save(cloned, metadata={"values": json.dumps(values, allow_nan=False)}))
    part.replace(path)


def read_checkpoint(path: Path) -> tuple[Tensors, Json]:
    """Return the tensors and values of a checkpoint.

    Raises
    ------
    InputError
        If the file is damaged, for example after a power failure.
    """
    try:
        with safe_open(path, "pt") as file:
            values = parse_object(file.metadata()["values"])
            return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); delete the folder {path.parent} to start again"
        ) from None


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Return the tensors with a prefix before their names; `under` removes it."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Return the tensors under a prefix, with the prefix removed."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def optimizer_state(optimizer: optim.Optimizer) -> tuple[Tensors, Json]:
    """Return an optimizer's state."""
    state = optimizer.state_dict()
    tensors = {
        f"{number}.{name}": tensor
        for number, state_of_weight in state["state"].items()
        for name, tensor in state_of_weight.items()
    }
    return tensors, {"param_groups": state["param_groups"]}


def restore_optimizer(optimizer: optim.Optimizer, tensors: Tensors, values: Json) -> None:
    """Restore the state from `optimizer_state`."""
    state: dict[int, Tensors] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": values["param_groups"]})


def generator_state(owner: object, device: torch.device) -> tuple[Tensors, Json]:
    """Return the state of torch's global generators and of the generators in `owner`'s attributes.

    Attributes are selected by type, so a new generator is always saved.
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
    """Restore the state from `generator_state`."""
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["cuda"], device)
    for name, state in under("own", tensors).items():
        getattr(owner, name).set_state(state)
    for name, state in values.items():
        getattr(owner, name).bit_generator.state = state
