"""Options of a build from a folder in the hub's layout: ``--backbone hf:FOLDER``.

config.json says which model it is, and the processor's JSON which pixels it takes. Neither torch
nor transformers is needed to read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.json_text import read_object
from featstore.keys import canonical_json
from models.families import HF, Family, family_of
from pipeline.build.plan.fit import CROP

WEIGHTS = "model.safetensors"
# The files that may hold the processor's numbers, and where in them; the first one counts.
PROCESSORS = {
    "image": (("processor_config.json", "image_processor"), ("preprocessor_config.json", "")),
    "video": (
        ("processor_config.json", "video_processor"),
        ("video_preprocessor_config.json", ""),
        ("preprocessor_config.json", ""),
    ),
}
# PIL's numbers.
RESAMPLE = {2: "bilinear", 3: "bicubic"}
# Fields of config.json that change no feature.
IRRELEVANT = (
    *("_name_or_path", "_attn_implementation_autoset", "dtype", "torch_dtype"),
    *("transformers_version", "id2label", "label2id", "num_labels", "problem_type"),
    *("initializer_range", "initializer_factor", "use_cache", "finetuning_task"),
)


def folder_options(backbone: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a folder decides, except those that are given.

    Parameters
    ----------
    backbone : str
        ``hf:FOLDER``.
    given : mapping
        Options by name; None where an option is not given.

    Raises
    ------
    InputError
        If the folder lacks a file, its model is of an unknown family, or a number of its processor
        is missing or cannot be used.
    """
    folder = Path(backbone.removeprefix(HF))
    if not folder.is_dir():
        raise InputError(
            f"--backbone is {backbone}, and {folder} is no folder; give a folder with config.json, "
            f"{WEIGHTS} and preprocessor_config.json."
        )
    architecture = _architecture(folder)
    try:
        family = family_of(architecture)
    except ValueError as error:
        raise InputError(f"{folder / 'config.json'}: {error}.") from None
    options: dict[str, Any] = {
        "backbone": HF + family.name,
        "architecture": canonical_json(architecture),
    }
    if given.get("weights") in (None, "default"):
        options["weights"] = _weights(folder)
    for name, value in _numbers(folder, family, architecture, given).items():
        if given.get(name) is None:
            options[name] = value
    return options


def _architecture(folder: Path) -> dict[str, Any]:
    """Return the part of config.json that decides features."""
    config = _read(folder / "config.json")
    vision = config.get("vision_config")
    if isinstance(vision, Mapping):
        config = {"model_type": config.get("model_type"), **vision}
    return {name: value for name, value in config.items() if name not in IRRELEVANT}


def _weights(folder: Path) -> str:
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(
            f"{folder} has no {WEIGHTS}; give one file of weights with --weights FILE, or "
            "--weights random."
        )
    return str(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except OSError:
        raise InputError(f"{path} is missing or cannot be read; copy it from the hub.") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid: {error}; copy it from the hub again.") from None


def _processor(folder: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """Return the file of the processor's numbers, and the numbers."""
    for name, part in PROCESSORS[kind]:
        if (path := folder / name).is_file():
            content = _read(path)
            numbers = content.get(part) if part else content
            if isinstance(numbers, dict):
                return path, numbers
    path = folder / PROCESSORS[kind][-1][0]
    raise InputError(f"{path} is missing: it has the numbers of the pixels; copy it from the hub.")


def _numbers(
    folder: Path, family: Family, architecture: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return size, fit, resample, normalise, window and hop."""
    path, processor = _processor(folder, family.kind)
    numbers: dict[str, Any] = {}
    try:
        if any(given.get(name) is None for name in ("size", "fit")):
            numbers["size"], numbers["fit"] = _square(processor)
        if given.get("resample") is None:
            numbers["resample"] = RESAMPLE[processor.get("resample", 2)]
        if given.get("normalise") is None:
            numbers["normalise"] = _normalise(processor)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = f"{error} is missing or unknown" if isinstance(error, KeyError) else error
        raise InputError(
            f"{path}: {reason}; give --size, --fit, --resample and --normalise."
        ) from None
    if family.kind == "video":
        field, default = family.window
        numbers["window"] = given.get("window") or architecture.get(field, default)
        numbers["hop"] = max(1, numbers["window"] // 2)
    return numbers


def _square(processor: Mapping[str, Any]) -> tuple[int, str]:
    """Return ``--size`` and ``--fit``."""
    if not processor.get("do_resize", True):
        raise ValueError("do_resize is false")
    if "max_num_patches" in processor:  # SigLIP 2 NaFlex; here pictures are square
        return int(processor["patch_size"] * processor["max_num_patches"] ** 0.5), "squash"
    size, crops = processor["size"], processor.get("do_center_crop", False)
    if isinstance(size, int):
        keeps_aspect = crops or "crop_pct" in processor
        size = {"shortest_edge": size} if keeps_aspect else {"height": size, "width": size}
    edge = size.get("shortest_edge")
    if edge is None:
        if size["height"] != size["width"] or crops:
            raise ValueError(f"size {size} is no square")
        return int(size["height"]), "squash"
    if "crop_pct" in processor:  # ConvNeXt
        share = processor["crop_pct"] or 224 / 256
        return (edge, f"{CROP}{int(edge / share)}") if edge < 384 else (edge, "squash")
    if not crops:
        raise ValueError("it does not crop a square")
    crop = processor["crop_size"]
    side = crop if isinstance(crop, int) else crop["height"]
    return int(side), f"{CROP}{int(edge)}"


def _normalise(processor: Mapping[str, Any]) -> str:
    """Return ``--normalise``: mean and std of pixels in 0..1."""
    of_vivit = str(processor.get("video_processor_type")).startswith("Vivit")
    offset = 1 if processor.get("offset", of_vivit) else 0  # of values that are scaled to -1..1
    factor = processor.get("rescale_factor") or 1 / 255
    scale = round(255 * (factor if processor.get("do_rescale", True) else 1), 9)
    if not processor.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    else:
        mean, std = processor["image_mean"], processor["image_std"]
    values = [(value + offset) / scale for value in mean] + [value / scale for value in std]
    return ",".join(repr(float(value)) for value in values)
