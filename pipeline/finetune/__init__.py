"""Train the last blocks of an image backbone on single frames of a split's train part.

The result is a weights file for ``featstore build --weights``. It records its split
(`pipeline.build.plan.leakage`), so builds that would test on the same people refuse it.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from featstore.errors import InputError
from featstore.format.files import replacing
from models.feature_kinds import POOLED
from models.frame_classifier import FrameClassifier
from models.operators import declare_missing_operators
from pipeline.build.checks import check_weights
from pipeline.build.extract.backbone import feature_dim, load_backbone, numerics
from pipeline.build.extract.statistics import Statistics, measure
from pipeline.build.plan.build_plan import BuildPlan, cache_of, plan_build
from pipeline.build.plan.leakage import METADATA, Record, read_training, record_of
from pipeline.build.plan.options import BuildOptions
from pipeline.build.plan.weights import SAFETENSORS
from pipeline.finetune.epochs import Standing, fit
from pipeline.finetune.frames import Frames, load_frames
from pipeline.finetune.learner import Tuner
from pipeline.finetune.options import Tuning
from pipeline.finetune.pixels import Pixels
from pipeline.runs.folder import CHECKPOINT, remove_unfinished, unfinished_folder
from pipeline.system.device import choose_device
from pipeline.system.memory import keep_freed_memory
from pipeline.train.learner import seeded
from pipeline.types import Log

__all__ = ["Tuning", "finetune"]


def finetune(
    options: BuildOptions, tuning: Tuning | None = None, *, out: Path, log: Log = print
) -> Path:
    """Train the last blocks of a backbone on the frames of a split's training clips.

    Frames are decoded once, with the preprocessing of a build with the same options, and kept next
    to `out` until the end. After every epoch, val clips are classified by the mean of their frames'
    log-probabilities. The weights of the best epoch are kept.

    Parameters
    ----------
    options : BuildOptions
        Options of the build that will use the weights: source with split, an image backbone, the
        initial weights, pixels, size, fps, normalisation; ``batch_size`` is ignored.
    tuning : Tuning, optional
    out : Path
        A ``.safetensors`` file. An interrupted finetuning of the same configuration resumes from
        its last epoch; on a CPU the result has the same bytes. A finished file of the same
        configuration is skipped; another existing file is an error.
    log : callable
        Takes one line at a time.

    Returns
    -------
    Path
        `out`; `pipeline.build.plan.leakage.read_training` reads its record.

    Raises
    ------
    InputError
        If the backbone takes windows, has too few blocks or random weights, the split lacks train
        or val, a frame does not decode, or `out` is taken.
    BusyError
        If another process is writing it.
    """
    tuning = tuning or Tuning()
    _check(options, out)
    device = choose_device(options.device, options.precision)
    keep_freed_memory()
    with closing(cache_of(options.store)) as cache:
        plan = plan_build(options, cache, log)
        config = _configuration(plan, tuning, device)
        if out.exists():
            _check_same(out, config)
            remove_unfinished(out)  # left by a process killed before its cleanup
            log("skipped: already finetuned")
            return out
        with unfinished_folder(out, config) as folder, seeded(tuning.seed, device):
            statistics = measure(plan.training_pixels, cache, log)
            model = _model(plan, tuning, device)
            check_weights(plan, cache)
            frames = load_frames(plan, statistics, folder, cache, log)
            for line in _introduction(plan, model, frames):
                log(line)
            pixels = Pixels(statistics.mean, statistics.std, device)
            tuner = Tuner(model, frames, pixels, tuning, options.precision)
            standing = fit(tuner, tuning, folder / CHECKPOINT, log)
            record = _record(plan, config, statistics, standing)
            _write(out, model, record)
            (folder / CHECKPOINT).unlink()
    return out


def _check(options: BuildOptions, out: Path) -> None:
    """Raise on options that are invalid for any annotations."""
    if options.takes_windows:
        raise InputError(
            f"--backbone is {options.backbone}, which takes windows of frames, but finetuning uses "
            "single frames; pass an image backbone."
        )
    if options.features != POOLED:
        raise InputError(
            f"--features is {options.features}; finetuning trains on pooled ones, leave it out."
        )
    if options.architecture:
        raise InputError(
            f"--backbone is {options.backbone}; finetuning knows torchvision's and timm's models."
        )
    if options.weights.partition(":")[0] == "random":
        raise InputError(
            f"--weights is {options.weights}: blocks on top of random ones learn little; pass "
            "pretrained weights."
        )
    if out.suffix != SAFETENSORS:
        raise InputError(f"--out is {out}; pass a file name that ends in {SAFETENSORS}.")


def _configuration(plan: BuildPlan, tuning: Tuning, device: torch.device) -> dict[str, Any]:
    """Return the settings that determine the weights, as plain values."""
    size = plan.options.size
    declare_missing_operators()  # before torchvision reports its version
    environment = numerics(
        device,
        [tuning.batch_size, 3, size, size],
        plan.options.precision,
        plan.pixels.decoder,
    )
    del environment["batch_norm"]  # batch norm is not folded here
    return {
        "store_key": plan.key,
        "features": plan.configuration,
        "tuning": asdict(tuning),
        "numerics": environment | {"threads": torch.get_num_threads()},
    }


def _check_same(out: Path, config: dict[str, Any]) -> None:
    existing = read_training(out) if out.is_file() else None
    if existing is None or any(
        existing.get(name) != config[name] for name in ("store_key", "tuning")
    ):
        raise InputError(
            f"--out is {out}, which exists with another configuration; name another file, or "
            "remove it."
        )


def _model(plan: BuildPlan, tuning: Tuning, device: torch.device) -> FrameClassifier:
    """Return the backbone with a classifier on top."""
    options = plan.options
    backbone = load_backbone(options.backbone, plan.weights)
    dim = feature_dim(backbone, [2, 3, options.size, options.size], torch.device("cpu"))
    try:
        model = FrameClassifier(backbone, dim, len(plan.dataset.classes), tuning.blocks)
    except ValueError as error:
        raise InputError(
            f"--blocks is {tuning.blocks}, but {options.backbone} does not allow it: {error}."
        ) from None
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _introduction(plan: BuildPlan, model: FrameClassifier, frames: Frames) -> list[str]:
    trained = sum(weight.numel() for layer in model.layers()[1:] for weight in layer)
    total = sum(weight.numel() for weight in model.backbone.parameters())
    clips = f"{frames.train} training and {len(frames.rows) - frames.train} val clips"
    blocks = f"the last {len(model.layers()) - 1} of {model.blocks} blocks"
    return [
        f"{plan.dataset.title}: {clips}, {len(frames.pixels)} frames",
        f"{plan.options.backbone}: {blocks} are trained, {trained:,} of {total:,} weights",
    ]


def _record(
    plan: BuildPlan, config: dict[str, Any], statistics: Statistics, standing: Standing
) -> Record:
    """Return the record in the weights file; it is the same in every run of the configuration."""
    source, path = plan.options.source, plan.weights.path
    values = {option.name: getattr(source, option.name) for option in fields(source)}  # type: ignore[arg-type]
    return {
        **record_of(source, plan.dataset, plan.clips, plan.videos),
        "source": {"name": source.name}
        | {
            name: option.name if isinstance(option, Path) else option
            for name, option in values.items()
        },
        **config,
        "statistics": statistics.as_json(),
        "best_epoch": standing.best_epoch,
        "history": standing.history,
        "base": {
            "name": path.name if path else "",
            "weights": plan.weights.identity,
            "training": read_training(path) if path else None,
        },
    }


def _write(out: Path, model: FrameClassifier, record: Record) -> None:
    state = model.backbone.network.state_dict()
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    with replacing(out) as temporary:
        temporary.write_bytes(save(tensors, metadata={METADATA: json.dumps(record)}))
