"""What a forward is: the backbone, the shape of a batch, and what decides the last bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import torch

from featstore.errors import InputError
from models.backbones import Backbone, fold_batch_norm, to_single_channel
from models.places import count_places, with_features
from models.pointwise import pointwise_by_onednn
from pipeline.build.extract.batch_runner import BatchRunner, concurrency_of
from pipeline.build.plan.extraction import Extraction
from pipeline.build.plan.options import BATCH_SIZES
from pipeline.build.plan.weights import SAFETENSORS, Weights, _check_finite
from pipeline.system.device import choose_device
from pipeline.system.precision import Precision
from pipeline.video.decoders import versions
from pipeline.video.pieces import PIECE_FRAMES

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Forward:
    """A backbone that is loaded, and what decides what comes out of it.

    Attributes
    ----------
    backbone : Backbone
    extraction : Extraction
        With the batch size that was found.
    device : torch.device
    dim : int
        Length of a feature vector.
    numerics : dict
        See `numerics`.
    places : int
        The vectors that a feature is made of, of one length, one after the other.
    """

    backbone: Backbone
    extraction: Extraction
    device: torch.device
    dim: int
    numerics: dict[str, Any]
    places: int = 1


def load_forward(extraction: Extraction) -> Forward:
    """Load a backbone onto the device that an extraction names.

    Raises
    ------
    InputError
        If the device, the precision or the weights cannot be used.
    """
    device = choose_device(extraction.device, extraction.precision)
    backbone = load_backbone(extraction.backbone, extraction.weights, extraction.architecture)
    backbone = _with_features(same_but_sooner(backbone, extraction, device), extraction)
    extraction = with_batch_size(backbone, extraction, device)
    shape = batch_shape(extraction, device, backbone.channels)
    dim = feature_dim(backbone, shape, device)
    last_bits = numerics(device, shape, extraction.precision, extraction.pixels.decoder)
    if extraction.architecture:
        import transformers

        last_bits["transformers"] = transformers.__version__
    places = count_places(backbone, shape)
    return Forward(backbone, extraction, device, dim, last_bits, places)


def _with_features(backbone: Backbone, extraction: Extraction) -> Backbone:
    try:
        return with_features(backbone, extraction.backbone, extraction.features)
    except ValueError as error:
        raise InputError(
            f"--features is {extraction.features}, and {extraction.backbone} has none ({error})."
        ) from None


def same_but_sooner(backbone: Backbone, extraction: Extraction, device: torch.device) -> Backbone:
    """Return a backbone that gives the same features sooner, but for their last bits.

    Batch norm becomes part of the convolutions, grey pictures that are normalised by one mean and
    one std enter as one channel, and on a CPU oneDNN computes what torch would not give it.
    """
    if extraction.pixels.mode == "luma" and len(extraction.normalise.mean) <= 1:
        backbone = to_single_channel(backbone)
    backbone = fold_batch_norm(backbone)
    exact_on_cpu = device.type == "cpu" and extraction.precision == "float32"
    return pointwise_by_onednn(backbone) if exact_on_cpu else backbone


def batch_shape(extraction: Extraction, device: torch.device, channels: int = 3) -> list[int]:
    """Return the one shape that every forward has."""
    frames = [] if extraction.window is None else [extraction.window]
    size = extraction.batch_size or BATCH_SIZES.get((device.type, bool(frames)), 8)
    return [size, channels, *frames, extraction.size, extraction.size]


def with_batch_size(backbone: Backbone, extraction: Extraction, device: torch.device) -> Extraction:
    """Return an extraction whose batch size a GPU's memory holds; on a CPU, as it is.

    It is not the fastest size that is looked for: timings vary, and the shape of a batch decides
    the last bits.

    Raises
    ------
    InputError
        If not even one input fits.
    """
    if device.type != "cuda" or extraction.batch_size is not None:
        return extraction
    shape = batch_shape(extraction, device, backbone.channels)
    waiting = extraction.workers * PIECE_FRAMES * backbone.channels * extraction.size**2
    size = fitting_batch(backbone, shape, device, extraction.precision, beside=waiting)
    return replace(extraction, batch_size=size)


def fitting_batch(
    backbone: Backbone,
    shape: Sequence[int],
    device: torch.device,
    precision: Precision = "float32",
    *,
    beside: int = 0,
) -> int:
    """Return the size of `shape`, halved until as many batches as are computed at once fit.

    Parameters
    ----------
    backbone : Backbone
    shape : sequence of int
        Of a batch, whose size is the most that is tried.
    device : torch.device
    precision : {"float32", "tf32", "bf16", "fp16"}
    beside : int
        Values of float32 that the device has to hold meanwhile: frames that wait.

    Raises
    ------
    InputError
        If not even one input fits.
    """
    size, *rest = shape
    while not _fits(backbone, [size, *rest], device, precision, beside):
        if size == 1:
            raise InputError(
                f"One input of {' x '.join(map(str, rest))} does not fit into the memory of "
                f"{device}; give a smaller --size, another backbone, or --device cpu."
            )
        size //= 2
    return size


def _fits(
    backbone: Backbone,
    shape: Sequence[int],
    device: torch.device,
    precision: Precision,
    beside: int,
) -> bool:
    try:
        waiting = torch.empty(beside, device=device)
        runner = BatchRunner(backbone, shape, device, precision)
        blank = [torch.zeros(list(shape[1:]), device=device)] * shape[0]
        for future in [runner.submit(blank) for _ in range(runner.count)]:
            future.result()
        del waiting
    except torch.OutOfMemoryError:
        return False
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return True


@torch.inference_mode()
def feature_dim(backbone: Backbone, shape: Sequence[int], device: torch.device) -> int:
    """Return the length of a feature vector, from one forward.

    Raises
    ------
    InputError
        If the backbone cannot take inputs of this shape.
    """
    backbone.to(device)
    try:
        return int(backbone(torch.zeros([2, *shape[1:]], device=device)).shape[1])
    # torch raises the first, timm the second, transformers the third.
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"--size is {shape[-1]}, and the backbone cannot take it ({reason}); give another size."
        ) from None


def planned_dim(extraction: Extraction) -> int:
    """Return the length of a feature vector, without a GPU."""
    cpu = torch.device("cpu")
    backbone = load_backbone(extraction.backbone, extraction.weights, extraction.architecture)
    backbone = _with_features(backbone, extraction)
    return feature_dim(backbone, batch_shape(extraction, cpu), cpu)


def numerics(
    device: torch.device,
    shape: Sequence[int],
    precision: Precision = "float32",
    decoder: str = "pyav",
) -> dict[str, Any]:
    """Return what decides the last bits of features, beside what the keys cover."""
    import torchvision  # behind torch, and after the backbone has declared its operators

    on_gpu = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pyav": av.__version__,
        "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"])),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": concurrency_of(device)[1],
        "precision": precision,
        "memory_format": "channels_last",
        "batch_norm": "folded where the network can be traced",
        "batch_shape": list(shape),
        **versions(decoder),
    }


def load_backbone(name: str, weights: Weights, architecture: str = "") -> Backbone:
    """Build a backbone and load its weights.

    Parameters
    ----------
    name : str
    weights : Weights
    architecture : str
        The configuration of a model of transformers, as JSON; empty for other backbones.

    Raises
    ------
    InputError
        If the file cannot be read, or is of another architecture: the message lists tensors.
    """
    from models.backbones import build_backbone

    if architecture:
        return _load_hf(name, weights, architecture)
    try:
        backbone = build_backbone(name, weights.seed)
    except ValueError as error:
        raise InputError(f"--backbone is {name!r}: {error}.") from None
    if weights.path is not None:
        tensors = read_tensors(weights.path)
        try:
            backbone.load(tensors)
        except ValueError as error:
            raise InputError(
                f"{weights.path} does not fit {name}: {error}; name the backbone that it was "
                "made for, or another file."
            ) from None
        _check_finite(weights.path, backbone)
    return backbone


def _load_hf(name: str, weights: Weights, architecture: str) -> Backbone:
    """Build a model of transformers and load its weights."""
    from models.hf import build_hf, load_hf

    if weights.path is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(weights.seed)
            try:
                return build_hf(architecture)
            except ValueError as error:
                raise InputError(f"--backbone is {name}: {error}.") from None
    try:
        backbone = load_hf(architecture, read_tensors(weights.path))
    except ValueError as error:
        raise InputError(
            f"{weights.path} does not fit {name}: {error}; give the folder as the hub has it."
        ) from None
    _check_finite(weights.path, backbone)
    return backbone


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Read named tensors from a safetensors file, or from a ``.pth`` that holds nothing else.

    Raises
    ------
    InputError
        If the file is damaged or holds anything but tensors.
    """
    import pickle

    import safetensors.torch
    import torch

    content: Any
    try:
        if path.suffix == SAFETENSORS:
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} holds more than tensors, and loading it could run code; convert it to "
            "safetensors where you trust it."
        ) from None
    except Exception as error:  # the two loaders raise half a dozen types on damaged files
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read as weights: {reason}") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and torch.is_tensor(tensor) for name, tensor in content.items()
    ):
        raise InputError(f"{path} is not a mapping of names to tensors; save a state_dict.")
    return content
