"""Striped videos, and quick finetunings on them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from models.backbones import build_backbone
from pipeline.build.plan.options import BuildOptions
from pipeline.finetune import Tuning
from tests.builds import options_of, row
from tests.videos import write_table, write_video

PARTS = ("train", "val", "test")
NAME = "squeezenet1_1"
SIDE = 48
CPU = torch.device("cpu")
QUICK = Tuning(blocks=3, epochs=3, frames=24, batch_size=16, lr=3e-3, warmup=0.5)


def striped(frames: int, *, upright: bool, seed: int) -> np.ndarray:
    """Stripes under noise, upright or not, which no mean or spread tells apart."""
    rng = np.random.default_rng(seed)
    lines = np.where(np.arange(SIDE) // 4 % 2, 90, 160)
    stripes = np.broadcast_to(lines if upright else lines[:, None], (SIDE, SIDE))
    return (stripes + rng.integers(-30, 31, (frames, SIDE, SIDE))).astype(np.uint8)


def write_data(folder: Path) -> Path:
    """A video a part: stripes of class a, then of b, in two clips each; and pretrained weights."""
    folder.mkdir(parents=True)
    rows = []
    for seed, part in enumerate(PARTS):
        pictures = [striped(12, upright=upright, seed=2 * seed + upright) for upright in (0, 1)]
        write_video(folder / f"{part}.mp4", np.concatenate(pictures))
        rows += [row(f"{part}.mp4", 6 * n, 6 * n + 6 - n % 2, part, "ab"[n // 2]) for n in range(4)]
    torch.manual_seed(1)
    save_file(build_backbone(NAME, 3).network.state_dict(), folder / "weights.safetensors")
    return write_table(folder / "clips.csv", rows)


def of(data: Path, store: Path, **more: Any) -> BuildOptions:
    given = {"weights": str(data.parent / "weights.safetensors"), "batch_size": None} | more
    return options_of(data, store, **given)
