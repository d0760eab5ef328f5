"""Training on several processes started by torchrun: gloo on CPUs, nccl on GPUs; a single process needs none of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from shape3d_amodal.errors import MissingBackendError

PATIENCE = timedelta(hours=1)
"""How long a rank waits for another one; rank 0's validation must take less."""


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Rank 0, the only one that writes."""
        return self.rank == 0

    def mean(self, values: list[float]) -> list[float]:
        """The mean of each value over all ranks."""
        return (self._reduce(values, dist.ReduceOp.SUM) / self.count).tolist() if self.count > 1 else values

    def maximum(self, value: float) -> float:
        """The largest of the ranks' values, so that all ranks take the same decision."""
        return self._reduce([value], dist.ReduceOp.MAX).item() if self.count > 1 else value

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        if self.count > 1:
            dist.barrier()

    def _reduce(self, values: list[float], operation: dist.ReduceOp.RedOpType) -> Tensor:
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=operation)
        return tensor


def check_device(device: str) -> int:
    """The number of GPUs of this machine.

    Raises:
        MissingBackendError: ``device`` is a GPU, and there is none, or none of that number.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.startswith("cuda") and (torch.device(device).index or 0) >= found:
        problem = f"expected a CUDA device for '{device}', found {found or 'none'}"
        raise MissingBackendError(f"device: {problem}; use 'cpu' or 'auto'")
    return found


@contextmanager
def join(device: str) -> Iterator[Ranks]:
    """Join the process group that torchrun's environment variables describe; without them this is the only rank.

    Args:
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        MissingBackendError: a GPU was asked for and there is none, or none of that number.
    """
    found = check_device(device)
    if device == "auto":
        device = "cuda" if found else "cpu"
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(0, 1, torch.device(device))
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
    backend = "gloo" if device == "cpu" else "nccl"
    dist.init_process_group(backend, store=_of_this_start(store), rank=rank, world_size=count, timeout=PATIENCE)
    try:
        yield Ranks(rank, count, torch.device(device))
    finally:
        dist.destroy_process_group()


def _of_this_start(store: Store) -> Store:
    """A view of ``store`` without what was written before torchrun restarted its workers.

    torchrun may keep one store over restarts, and new workers then connect to addresses of dead ones. The count of
    restarts tells them apart, but only on one machine, for each machine counts its own; on several ones the variable
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 lets rank 0 open a new store at every start.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or os.environ["GROUP_WORLD_SIZE"] != "1":
        return store
    return PrefixStore(f"start-{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


def use_threads(threads: int) -> None:
    """Let torch use ``threads`` threads in this process; 0 shares the machine's cores among its local ranks."""
    torch.set_num_threads(threads or cores_of_this_rank())


def cores_of_this_rank() -> int:
    """The cores that this process may use, shared evenly with the other ranks of this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def is_first_rank() -> bool:
    """Whether this process is rank 0, also before and after ``join``: the one that prints and writes weights."""
    return int(os.environ.get("RANK", "0")) == 0
