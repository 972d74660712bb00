"""Train for two epochs with gradients averaged over a process group, and without; print JSON.

`gpu.py` starts it under torchrun, with one process: a second one needs a second GPU.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

import featstore
from pipeline.system.device import choose_device
from pipeline.train.learner import Learner, make_head
from pipeline.train.recipes.load import load_recipe


def epochs(store: featstore.Store, device: torch.device, *, group: bool) -> tuple[float, float]:
    """Return the seconds of the second epoch, and its loss."""
    recipe = load_recipe("tcn", ["head.dropout=0", "augment.noise=0"])
    torch.manual_seed(0)
    head = make_head(store, recipe).to(device)
    learner = Learner(head, store, recipe, store.split("train"), seed=0)
    if group:
        learner.replica = DistributedDataParallel(head)
    learner.epoch()
    began = time.perf_counter()
    loss, _ = learner.epoch()
    return time.perf_counter() - began, loss


def main() -> None:
    """Compare, and print one line."""
    store, device = featstore.open(Path(sys.argv[1])), choose_device(sys.argv[2])
    alone, loss = epochs(store, device, group=False)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        together, same = epochs(store, device, group=True)
        total = torch.ones(3, device=device)
        dist.all_reduce(total)
        dist.broadcast(total, src=0)
        facts = {"backend": dist.get_backend(), "processes": dist.get_world_size()}
    finally:
        dist.destroy_process_group()
    facts |= {"epoch": together, "epoch_without": alone, "sum": total.tolist()}
    print(json.dumps(facts | {"losses_differ_by": abs(same - loss) / loss}))


if __name__ == "__main__":
    main()
