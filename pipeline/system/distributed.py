"""Train with several processes, as ``torchrun`` starts them.

Every process makes the same batches from the same generators, including noise and mixup. Rank r of
n processes then passes every n-th clip, starting at the r-th, to the head. So each clip is used
once, and the gradients of all processes sum to those of the whole batch.
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
    """One process of a training; by default the only one.

    Attributes
    ----------
    rank : int
        Its number, from 0. Rank 0 logs and writes files.
    count : int
        Number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process logs and writes files."""
        return self.rank == 0

    @property
    def checks(self) -> bool:
        """Whether this process checks the features, for all processes on this machine."""
        return self.count == 1 or int(os.environ.get("LOCAL_RANK", "0")) == 0

    @property
    def here(self) -> int:
        """Number of processes on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.count > 1 else 1

    def own(self, clips: int) -> tuple[slice, int]:
        """Return this process's share of a batch.

        Parameters
        ----------
        clips : int
            Number of clips in the whole batch.

        Returns
        -------
        rows : slice
            The rows of this process.
        weight : int
            1, or 0 if there is no clip for this process. It then computes the first clip, because
            all processes must take part, and adds nothing.

        Examples
        --------
        >>> [list(range(5))[Processes(rank, 2).own(5)[0]] for rank in (0, 1)]
        [[0, 2, 4], [1, 3]]
        """
        if self.rank < clips:
            return slice(self.rank, None, self.count), 1
        return slice(1), 0

    def replica(self, head: nn.Module) -> nn.Module:
        """Return a head with gradients averaged over processes; the same head for one process."""
        return head if self.count == 1 else DistributedDataParallel(head)

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over processes."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def of_first(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the array of rank 0, so that all processes decide alike."""
        if self.count == 1:
            return values
        tensor = torch.from_numpy(values).to(_device())
        dist.broadcast(tensor, src=0)
        return tensor.cpu().numpy()

    def all(self, value: bool) -> bool:
        """Tell whether `value` is true in every process."""
        if self.count == 1:
            return value
        return int(self.total(torch.tensor(int(value), device=_device()))) == self.count

    def meet(self) -> None:
        """Wait until every process reaches this call."""
        self.all(True)

    def check_equal(self, epochs: int) -> None:
        """Check that all processes resume from the same epoch.

        Raises
        ------
        InputError
        """
        if not self.all(epochs == int(self.of_first(np.array([epochs], np.float64))[0])):
            raise InputError(
                "the processes do not see the same checkpoint; put the run folder (--out) on a "
                "disk that all of them share"
            )

    def seed_dropout(self, order: np.random.Generator) -> None:
        """Seed dropout differently in every process for an epoch.

        Parameters
        ----------
        order : numpy.random.Generator
            Generator of the clip order. Its state differs by epoch and is stored in checkpoints;
            it is not changed.
        """
        if self.count > 1:
            state = int(deepcopy(order).integers(2**63))
            sequence = np.random.SeedSequence([state, self.rank])
            torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def processes() -> Processes:
    """Return this process in torch's process group; a single process without a group."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


@contextmanager
def process_group(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, within the block.

    Parameters
    ----------
    device : str
        As for `pipeline.train.train.train`. Every process uses a different GPU, with NCCL; on CPUs
        they communicate with gloo.

    Yields
    ------
    Processes
        A single process, if ``torchrun`` did not start this process or started no other.

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
            f"process {os.environ['RANK']} lost another process of this training ({reason}), which "
            "reports the cause; run the same command to resume after the last complete epoch"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _take_gpu(device: str) -> None:
    """Make the GPU of this process the current one, so that ``cuda`` means it."""
    local, here = (int(os.environ.get(f"LOCAL_{name}", "0")) for name in ("RANK", "WORLD_SIZE"))
    if ":" in device and here > 1:
        raise InputError(
            f"--device is {device!r}, which is one GPU for {here} processes; pass cuda, so that "
            "each uses a different one"
        )
    if local >= (gpus := torch.cuda.device_count()):
        raise InputError(
            f"torchrun started {here} processes on this machine, which has {gpus} GPUs; start one "
            "process per GPU, or pass --device cpu"
        )
    torch.cuda.set_device(device if ":" in device else local)


def _device() -> torch.device:
    """Return the device for tensors that processes exchange."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _is_lost(error: RuntimeError) -> bool:
    """Tell whether an error means a lost process; gloo's errors have no separate type."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
