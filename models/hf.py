"""Vision models of transformers as backbones: built from a configuration, loaded strictly.

No model hub is reached: transformers gets a configuration and tensors, never a name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones import Backbone, listed
from models.families import Family, family_of
from models.operators import declare_missing_operators

# A model may hold a half or a third of a tensor of the file, such as the queries of all three.
PARTS = (2, 3)


class HfNetwork(nn.Module):
    """A vision model of transformers that returns its pooled vector.

    Parameters
    ----------
    model : nn.Module
    family : Family
    norm : nn.Module, optional
        Applied to the pooled vector.
    """

    own_channels = True  # the model checks that its input has three

    def __init__(self, model: nn.Module, family: Family, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.model, self.family = model, family
        self.norm = norm or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled vectors (batch, dim).

        Parameters
        ----------
        x : float tensor (batch, 3, height, width) or (batch, 3, frames, height, width)

        Raises
        ------
        ValueError
            If the model does not take this size or window.
        """
        pooled: Tensor = self.norm(self._pooled(self.outputs(x)))
        return pooled

    def _pooled(self, outputs: Any) -> Tensor:
        if self.family.pooled == "pooler":
            pooled: Tensor = outputs.pooler_output
            return pooled
        tokens: Tensor = outputs.last_hidden_state
        return tokens[:, 0] if self.family.pooled == "cls" else tokens.mean(dim=1)

    def outputs(self, x: Tensor) -> Any:
        """Return what the model computes of `x`; see `forward`."""
        config: Any = self.model.config
        if self.family.kind == "video":
            self._check_window(x)
            x = x.transpose(1, 2)
            if self.family.name == "vjepa2":
                return self.model(x, skip_predictor=True)
            return self.model(x)
        if self.family.name == "siglip2":
            return self.model(**_patches(x, config.patch_size))
        size = getattr(config, "image_size", None)
        resized = size is not None and x.shape[-1] != (size if isinstance(size, int) else size[-1])
        if resized and self.family.name in ("siglip", "clip", "vit", "hiera"):
            return self.model(x, interpolate_pos_encoding=True)
        return self.model(x)

    def _check_window(self, x: Tensor) -> None:
        config, family = self.model.config, self.family
        size, frames = getattr(config, family.size), getattr(config, family.window[0])
        if x.shape[-1] != size:
            raise ValueError(f"{family.title} of this folder takes --size {size} only")
        if x.shape[2] != frames and not family.free_window:
            raise ValueError(f"{family.title} of this folder takes --window {frames} only")


def _patches(x: Tensor, side: int) -> dict[str, Tensor]:
    """Return square pictures as the patches that SigLIP 2 NaFlex takes."""
    batch, channels, height, width = x.shape
    rows, columns = height // side, width // side
    patches = x[..., : rows * side, : columns * side].reshape(
        batch, channels, rows, side, columns, side
    )
    patches = patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)
    return {
        "pixel_values": patches,
        "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.int32, device=x.device),
        "spatial_shapes": torch.tensor([[rows, columns]], device=x.device).expand(batch, 2),
    }


def build_hf(architecture: str) -> Backbone:
    """Build a model with random weights.

    Parameters
    ----------
    architecture : str
        JSON of the model's configuration.

    Raises
    ------
    ValueError
        If transformers is not installed, or does not accept the configuration.
    """
    family, model_class, config = _model_class(architecture)
    model = model_class(config, **family.options)
    return _backbone(model, family, _norm(family, config))


def load_hf(architecture: str, tensors: Mapping[str, Tensor]) -> Backbone:
    """Build a model and load its weights.

    Every tensor of the model must be one of `tensors`, or a half or a third of one, and every one
    of `tensors` must be used, except those that features do not need. Contents are compared and
    not names, because transformers renames tensors and may initialise some without an error.

    Parameters
    ----------
    architecture : str
        JSON of the model's configuration.
    tensors : mapping of str to Tensor

    Raises
    ------
    ValueError
        If tensors are missing, unknown, of another shape or not loaded; the message lists them.
        Or as for `build_hf`.
    """
    family, model_class, config = _model_class(architecture)
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    with _quiet():
        model, report = model_class.from_pretrained(
            None,
            config=config,
            # Copies: the model may keep these tensors, and initialise some of them in place.
            state_dict={name: tensor.clone() for name, tensor in tensors.items()},
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **family.options,
        )
    prefix = f"{model_class.base_model_prefix}."
    needed = {name: value for name, value in tensors.items() if _needed(name, prefix, family)}
    shapes = sorted(str(name) for name, *_ in report["mismatched_keys"])
    missing = sorted(name for name in report["missing_keys"] if _needed(name, prefix, family))
    not_loaded, unused = _compare(model, needed)
    reported = {*missing, *shapes}
    problems = (
        listed("missing", missing),
        listed("other shape", shapes),
        listed("unknown", unused if not shapes else []),
        listed(
            "not loaded",
            [name for name in not_loaded if name not in reported and _needed(name, prefix, family)],
        ),
    )
    if any(problems):
        raise ValueError("; ".join(problem for problem in problems if problem))
    return _backbone(model, family, _load_norm(_norm(family, config), tensors))


def _compare(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Return the names of the model's tensors that the file lacks, and of the file's not used."""
    ours = {name: _fingerprint(value) for name, value in model.state_dict().items()}
    theirs = {name: {_fingerprint(value)} for name, value in tensors.items()}
    not_loaded = set(ours.values()) - set().union(*theirs.values())
    if not_loaded:
        for name, value in tensors.items():
            if not theirs[name] & set(ours.values()) and value.ndim:
                theirs[name] = {_fingerprint(part) for n in PARTS for part in value.chunk(n)}
        not_loaded = set(ours.values()) - set().union(*theirs.values())
    unused = sorted(name for name, prints in theirs.items() if not prints & set(ours.values()))
    return sorted(name for name, own in ours.items() if own in not_loaded), unused


def _fingerprint(tensor: Tensor) -> tuple[tuple[int, ...], bytes]:
    content = tensor.detach().contiguous().numpy().data
    return tuple(tensor.shape), hashlib.sha1(content, usedforsecurity=False).digest()


def _needed(name: str, prefix: str, family: Family) -> bool:
    """Tell whether features need a tensor."""
    bare = name.removeprefix(prefix)
    return not bare.startswith(family.ignored) and not bare.endswith("position_ids")


def _norm(family: Family, config: Any) -> nn.LayerNorm | None:
    """Return the norm between the mean and the classifier that VideoMAE's classifiers have."""
    classifies = any("Classification" in name for name in config.architectures or ())
    if family.name == "videomae" and classifies and config.use_mean_pooling:
        return nn.LayerNorm(config.hidden_size)
    return None


def _load_norm(norm: nn.LayerNorm | None, tensors: Mapping[str, Tensor]) -> nn.LayerNorm | None:
    if norm is not None:
        names = {part: f"fc_norm.{part}" for part in ("weight", "bias")}
        if missing := [name for name in names.values() if name not in tensors]:
            raise ValueError(listed("missing", missing))
        norm.load_state_dict({part: tensors[name] for part, name in names.items()})
    return norm


def _backbone(model: nn.Module, family: Family, norm: nn.Module | None) -> Backbone:
    if family.name == "vjepa2":
        model.register_module("predictor", None)  # a third of the weights, not used
    return Backbone(HfNetwork(model, family, norm), ())


def _model_class(architecture: str) -> tuple[Family, Any, Any]:
    declare_missing_operators()
    try:
        import transformers
    except ImportError:
        raise ValueError("transformers is not installed; pip install transformers") from None
    content = json.loads(architecture)
    family = family_of(content)
    model_class = getattr(transformers, family.model)
    try:
        config = model_class.config_class.from_dict(content)
    except Exception as error:  # checks of many types
        reason = " ".join(str(error).split())
        raise ValueError(f"transformers does not accept its config.json ({reason})") from None
    return family, model_class, config


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn off transformers' progress bar and its own report of the loading."""
    from transformers.utils import logging as module

    logging: Any = module  # its functions are annotated in parts
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
