"""The last blocks of an image backbone, trained frame by frame on the train part of a split.

What comes of it is a weights file for ``featstore build --weights``. It says which split it has
seen (`pipeline.build.plan.leakage`), so builds that would test on those people refuse it.
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
from models.frame_classifier import FrameClassifier
from models.operators import declare_missing_operators
from pipeline.build.checks import check_weights
from pipeline.build.extract.backbone import feature_dim, load_backbone, numerics
from pipeline.build.extract.statistics import Statistics, measure
from pipeline.build.plan.build_plan import Prepared, cache_of, prepare
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

    Frames are decoded once, as a build with the same options would see them, and kept beside `out`
    until the end. After every epoch the val clips are classified by the mean of their frames'
    log-probabilities; the weights of the best epoch are kept.

    Parameters
    ----------
    options : BuildOptions
        Of the build that the weights are for: source with split, an image backbone, the weights to
        begin from, pixels, size, fps, normalisation; ``batch_size`` is not read.
    tuning : Tuning, optional
    out : Path
        A ``.safetensors`` file, which must not exist. Where a finetuning of the same configuration
        was cut off, this one goes on from its last epoch; on a CPU to the same bytes. Where it is
        there and is of the same configuration, nothing is done.
    log : callable
        Takes one line at a time.

    Returns
    -------
    Path
        `out`; `pipeline.build.plan.leakage.read_training` reads what it says of itself.

    Raises
    ------
    InputError
        If the backbone takes windows, has too few blocks or random weights, the split lacks train
        or val, a frame does not decode, or `out` is taken.
    BusyError
        If another process is at it.
    """
    tuning = tuning or Tuning()
    _check(options, out)
    device = choose_device(options.device, options.precision)
    keep_freed_memory()
    with closing(cache_of(options.store)) as cache:
        prepared = prepare(options, cache, log)
        config = _configuration(prepared, tuning, device)
        if out.exists():
            _check_same(out, config)
            remove_unfinished(out)  # of one that was killed when only that was left to do
            log("already finetuned: nothing to do")
            return out
        with unfinished_folder(out, config) as folder, seeded(tuning.seed, device):
            statistics = measure(prepared, cache, log)
            model = _model(prepared, tuning, device)
            check_weights(prepared, cache)
            frames = load_frames(prepared, statistics, folder, cache, log)
            for line in _introduction(prepared, model, frames):
                log(line)
            pixels = Pixels(statistics.mean, statistics.std, device)
            tuner = Tuner(model, frames, pixels, tuning, options.precision)
            standing = fit(tuner, tuning, folder / CHECKPOINT, log)
            record = _record(prepared, config, statistics, standing)
            _write(out, model, record)
            (folder / CHECKPOINT).unlink()
    return out


def _check(options: BuildOptions, out: Path) -> None:
    """Refuse what needs no annotations to be refused."""
    if options.takes_windows:
        raise InputError(
            f"--backbone is {options.backbone}, which takes windows of frames, and single frames "
            "are learnt from; give an image backbone."
        )
    if options.weights.partition(":")[0] == "random":
        raise InputError(
            f"--weights is {options.weights}: blocks on top of random ones learn little; give "
            "pretrained weights."
        )
    if out.suffix != SAFETENSORS:
        raise InputError(f"--out is {out}; give a file that ends in {SAFETENSORS}.")


def _configuration(prepared: Prepared, tuning: Tuning, device: torch.device) -> dict[str, Any]:
    """Return what decides the weights, as plain values."""
    size = prepared.options.size
    declare_missing_operators()  # before torchvision says its version
    own = numerics(device, [tuning.batch_size, 3, size, size], prepared.options)
    del own["batch_norm"]  # is not folded here
    return {
        "store_key": prepared.key,
        "features": prepared.configuration,
        "tuning": asdict(tuning),
        "numerics": own | {"threads": torch.get_num_threads()},
    }


def _check_same(out: Path, config: dict[str, Any]) -> None:
    known = read_training(out) if out.is_file() else None
    if known is None or any(known.get(name) != config[name] for name in ("store_key", "tuning")):
        raise InputError(
            f"--out is {out}, which is there and is not what this command would write; name "
            "another file, or remove it."
        )


def _model(prepared: Prepared, tuning: Tuning, device: torch.device) -> FrameClassifier:
    """Load the backbone, and put a classifier on it."""
    options = prepared.options
    backbone = load_backbone(options.backbone, prepared.weights)
    dim = feature_dim(backbone, [2, 3, options.size, options.size], torch.device("cpu"))
    try:
        model = FrameClassifier(backbone, dim, len(prepared.dataset.classes), tuning.blocks)
    except ValueError as error:
        raise InputError(
            f"--blocks is {tuning.blocks}, and {options.backbone} cannot: {error}."
        ) from None
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _introduction(prepared: Prepared, model: FrameClassifier, frames: Frames) -> list[str]:
    trained = sum(own.numel() for layer in model.layers()[1:] for own in layer)
    total = sum(own.numel() for own in model.backbone.parameters())
    clips = f"{frames.train} training and {len(frames.rows) - frames.train} val clips"
    blocks = f"the last {len(model.layers()) - 1} of {model.blocks} blocks"
    return [
        f"{prepared.dataset.title}: {clips}, {len(frames.pixels)} frames",
        f"{prepared.options.backbone}: {blocks} are trained, {trained:,} of {total:,} weights",
    ]


def _record(
    prepared: Prepared, config: dict[str, Any], statistics: Statistics, standing: Standing
) -> Record:
    """Return what the weights file says of itself; nothing that another run would say otherwise."""
    source, path = prepared.options.source, prepared.weights.path
    values = {own.name: getattr(source, own.name) for own in fields(source)}  # type: ignore[arg-type]
    return {
        **record_of(source, prepared.dataset, prepared.clips, prepared.videos),
        "source": {"name": source.name}
        | {name: own.name if isinstance(own, Path) else own for name, own in values.items()},
        **config,
        "statistics": statistics.as_json(),
        "best_epoch": standing.best_epoch,
        "history": standing.history,
        "base": {
            "name": path.name if path else "",
            "weights": prepared.weights.identity,
            "training": read_training(path) if path else None,
        },
    }


def _write(out: Path, model: FrameClassifier, record: Record) -> None:
    state = model.backbone.network.state_dict()
    tensors = {name: own.cpu().contiguous() for name, own in state.items()}
    with replacing(out) as temporary:
        temporary.write_bytes(save(tensors, metadata={METADATA: json.dumps(record)}))
