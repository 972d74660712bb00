"""One training by several processes, as ``torchrun`` starts them.

Every process makes the same batches from the same generators, noise and mixup included, and gives
its own clips of each to the head: of n processes number r takes every n-th clip from the r-th on.
So each clip is learnt from once, and the gradients of all sum to those of the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from featstore.errors import FeatstoreError, InputError

LAUNCHED = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


@dataclass(frozen=True, slots=True)
class Processes:
    """One process among those that train together; by default it is alone.

    Attributes
    ----------
    rank : int
        Its number, from 0 on. Number 0 says and writes what a process that is alone would.
    count : int
        How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that says and writes things."""
        return self.rank == 0

    @property
    def checks(self) -> bool:
        """Whether this one compares features with their checksums, for all on this machine."""
        return self.count == 1 or int(os.environ.get("LOCAL_RANK", "0")) == 0

    @property
    def here(self) -> int:
        """How many of them share this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.count > 1 else 1

    def own(self, clips: int) -> tuple[slice, int]:
        """Divide a batch.

        Parameters
        ----------
        clips : int
            Of the whole batch.

        Returns
        -------
        rows : slice
            Those of this process.
        weight : int
            1, or 0 where there are fewer clips than processes and none is left for this one. It
            then computes the first, for all have to take part, and adds nothing.

        Examples
        --------
        >>> [list(range(5))[Processes(rank, 2).own(5)[0]] for rank in (0, 1)]
        [[0, 2, 4], [1, 3]]
        """
        if self.rank < clips:
            return slice(self.rank, None, self.count), 1
        return slice(1), 0

    def replica(self, head: nn.Module) -> nn.Module:
        """Return a head whose gradients become the mean over processes; itself, for one."""
        return head if self.count == 1 else DistributedDataParallel(head)

    def total(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over processes."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def of_first(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the array that process 0 has: what is decided by it is decided alike."""
        if self.count == 1:
            return values
        tensor = torch.from_numpy(values).to(_device())
        dist.broadcast(tensor, src=0)
        return tensor.cpu().numpy()

    def all(self, value: bool) -> bool:
        """Whether something holds in every process."""
        if self.count == 1:
            return value
        return int(self.total(torch.tensor(int(value), device=_device()))) == self.count

    def meet(self) -> None:
        """Wait until every process has come here."""
        self.all(True)

    def check_equal(self, epochs: int) -> None:
        """Refuse processes that do not go on from the same epoch.

        Raises
        ------
        InputError
        """
        if not self.all(epochs == int(self.of_first(np.array([epochs], np.float64))[0])):
            raise InputError(
                "the processes do not see the same checkpoint; the folder of the run (--out) has "
                "to be one that all of them share"
            )

    def seed_dropout(self, order: np.random.Generator) -> None:
        """Give every process its own chance for an epoch.

        Parameters
        ----------
        order : numpy.random.Generator
            Of the order of clips. Where it stands differs by epoch and is kept in checkpoints; it
            is not moved.
        """
        if self.count > 1:
            state = int(deepcopy(order).integers(2**63))
            sequence = np.random.SeedSequence([state, self.rank])
            torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def processes() -> Processes:
    """Return this process among those of torch's process group; alone where there is none."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


@contextmanager
def process_group(device: str = "auto") -> Iterator[Processes]:
    """Train together with the other processes that ``torchrun`` started, within the block.

    Parameters
    ----------
    device : str
        As for `pipeline.train.train.train`. On GPUs every process takes its own, over NCCL; on
        CPUs they speak over gloo.

    Yields
    ------
    Processes
        Alone, where ``torchrun`` did not start this process or started no other.

    Raises
    ------
    InputError
        If there are fewer GPUs than processes, or `device` names one for all.
    FeatstoreError
        If another process is lost.
    """
    if not os.environ.keys() >= LAUNCHED or int(os.environ["WORLD_SIZE"]) < 2:
        yield processes()
        return
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        _take_gpu(device)
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo")
        yield processes()
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise FeatstoreError(
            f"process {os.environ['RANK']} lost another one of this training ({reason}); that one "
            "says why. The same command goes on after the last whole epoch"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _take_gpu(device: str) -> None:
    """Make the GPU of this process its current one, which ``cuda`` then means."""
    local, here = (int(os.environ.get(f"LOCAL_{name}", "0")) for name in ("RANK", "WORLD_SIZE"))
    if ":" in device and here > 1:
        raise InputError(
            f"--device is {device!r}, which is one GPU for {here} processes; give cuda, and each "
            "takes its own"
        )
    if local >= (found := torch.cuda.device_count()):
        raise InputError(
            f"torchrun started {here} processes on this machine, which has {found} GPUs; start one "
            "for each, or give --device cpu"
        )
    torch.cuda.set_device(device if ":" in device else local)


def _device() -> torch.device:
    """Return where tensors have to be that processes exchange."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone; gloo's have no type of their own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
