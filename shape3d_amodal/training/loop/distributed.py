"""Training on several processes started by torchrun or srun: gloo on CPUs, nccl on GPUs; one process needs neither."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from shape3d_amodal.errors import MissingBackendError, UsageError
from shape3d_amodal.launcher import Place, meeting_point, place_of

P = TypeVar("P")
T = TypeVar("T")

PATIENCE = timedelta(hours=1)
"""How long a rank waits for another one; what rank 0 does alone, as scoring what all have found, must take less."""


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

    def told(self, value: T) -> list[T]:
        """What every rank says here, in the order of the ranks; small things, which are pickled."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def map(self, function: Callable[[P], T], parts: Sequence[P]) -> list[T]:
        """``function`` of each part, in their order: each rank does its share, and all have all results."""
        shares = self.told([function(part) for part in parts[self.rank :: self.count]])
        return [shares[number % self.count][number // self.count] for number in range(len(parts))]

    def take_first(self, tensors: Iterable[Tensor]) -> None:
        """Fill ``tensors``, which all ranks have in the same order, with those of rank 0."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        if self.count > 1:
            dist.barrier()

    def _reduce(self, values: list[float], operation: dist.ReduceOp.RedOpType) -> Tensor:
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=operation)
        return tensor


def rank_device(name: str, place: Place) -> torch.device:
    """The device of the rank at ``place``; of several ranks on a machine each has the GPU of its number.

    Args:
        name: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        MissingBackendError: a GPU is asked for, and there is none, or none of that number.
        UsageError: all ranks would share a GPU, or a machine has more ranks than GPUs.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not found):
        return torch.device("cpu")
    if name != "auto" and (torch.device(name).index or 0) >= found:
        problem = f"expected a CUDA device for '{name}', found {found or 'none'}"
        raise MissingBackendError(f"device: {problem}; use 'cpu' or 'auto'")
    if place.count == 1:
        return torch.device("cuda" if name == "auto" else name)
    if name.startswith("cuda:"):
        problem = f"expected cuda or auto for {place.count} ranks, which have a GPU each, got '{name}'"
        raise UsageError(f"device: {problem}; choose GPUs by CUDA_VISIBLE_DEVICES")
    if found == 1 and place.bound:
        return torch.device("cuda:0")  # srun --gpus-per-task=1; otherwise ``refuse_unfit`` finds the others on it
    if place.local_count > found:
        problem = f"expected a GPU for each of the {place.local_count} ranks on this machine, found {found}"
        raise UsageError(f"device: {problem}; start fewer ranks on it, or use 'cpu'")
    return torch.device(f"cuda:{place.local_rank}")


@contextmanager
def join(device: str) -> Iterator[Ranks]:
    """Join the process group that torchrun or srun describes; without them this is the only rank.

    Args:
        device: as for ``rank_device``.

    Raises:
        UsageError, MissingBackendError: as for ``rank_device``; or srun's ranks do not know where to meet.
    """
    place = place_of(os.environ)
    own = rank_device(device, place)
    if place.count == 1:
        yield Ranks(0, 1, own)
        return
    if own.type == "cuda":
        torch.cuda.set_device(own)
    store = _store(place)
    refuse_unfit(_told(store, place, _identity(own)))
    backend = "gloo" if own.type == "cpu" else "nccl"
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.count, timeout=PATIENCE)
    try:
        yield Ranks(place.rank, place.count, own)
    finally:
        dist.destroy_process_group()


def _store(place: Place) -> Store:
    """What the ranks meet by."""
    if "RANK" in os.environ:
        store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
        return _of_this_start(store)
    url = f"{meeting_point(os.environ)}?rank={place.rank}&world_size={place.count}"
    store, _, _ = next(rendezvous(url, timeout=PATIENCE))
    return store


def refuse_unfit(devices: list[str]) -> None:
    """
    Args:
        devices: each rank's: ``cpu``, or ``cuda`` and which one of all machines.

    Raises:
        UsageError: some have a GPU and some have none, or two have the same.
    """
    kinds = [device.split()[0] for device in devices]
    if len(set(kinds)) > 1:
        other = next(rank for rank, kind in enumerate(kinds) if kind != kinds[0])
        problem = f"expected the same for all ranks, got {kinds[0]} for rank 0 and {kinds[other]} for rank {other}"
        raise UsageError(f"device: {problem}; use 'cpu', or machines that all have GPUs")
    for rank, device in enumerate(devices):
        if device != "cpu" and device in devices[:rank]:
            problem = f"expected a GPU for each rank, got one for the ranks {devices.index(device)} and {rank}"
            raise UsageError(f"device: {problem}; start fewer ranks, or give srun --gpus-per-task=1")


def _identity(device: torch.device) -> str:
    if device.type == "cpu":
        return "cpu"
    return f"cuda {socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}"


def _told(store: Store, place: Place, word: str) -> list[str]:
    """What every rank says, in their order, before they have a process group."""
    store.set(f"device-{place.rank}", word)
    return [store.get(f"device-{rank}").decode() for rank in range(place.count)]


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
    """The cores that this process may use; torchrun's share those of their machine evenly, srun gives each its own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    place = place_of(os.environ)
    if place.bound and "SLURM_CPUS_PER_TASK" in os.environ:
        return min(cores, int(os.environ["SLURM_CPUS_PER_TASK"]))
    return max(1, cores // place.local_count)


def is_first_rank() -> bool:
    """Whether this process is rank 0, also before and after ``join``: the one that prints and writes weights."""
    return place_of(os.environ).first
