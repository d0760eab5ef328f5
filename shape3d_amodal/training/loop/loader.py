"""The batches of a training, step after step, made ahead of their use by worker processes.

Item k of ``StepBatches`` is this rank's share of the batch of step k, which depends on (seed, k) alone. So the bits do
not depend on the number of workers, and a training that is resumed begins with the item of its step.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from shape3d_amodal.errors import AmodalError, TrainingError
from shape3d_amodal.files.processes import starting_workers
from shape3d_amodal.training.loop.distributed import Ranks, cores_of_this_rank
from shape3d_amodal.training.loop.interface import BatchMaker, LoopConfig
from shape3d_amodal.training.loop.packing import Packed, pack, rows_of

_MOST_WORKERS = 8
"""For one GPU, where nothing else is asked for."""
_USERS = (AmodalError, OSError, ImportError, MemoryError)
"""Errors that are told in one line."""


@dataclass(frozen=True)
class _Failed:
    """In place of a batch: why it could not be made."""

    error: BaseException


class StepBatches(Dataset[Packed]):
    """Item k: one rank's share of the batch of step k, and the ids of its rows.

    Args:
        maker: draws and makes batches.
        seed: of all that is random.
        size: rows of a batch, of all ranks together.
        rank, ranks: which of how many equal shares is made.
    """

    def __init__(self, maker: BatchMaker, seed: int, size: int, rank: int = 0, ranks: int = 1) -> None:
        self.maker, self.seed, self.size = maker, seed, size
        self.rows = slice(rank * size // ranks, (rank + 1) * size // ranks)

    def __getitem__(self, step: int) -> Packed:
        plan = self.maker.plan(step, generator(self.seed, "train", step), self.size)
        own = rows_of(plan, self.rows)
        return pack((self.maker.make(own), self.maker.ids(own)))


class _Told(Dataset[Packed | _Failed]):
    """The same for workers, with errors as items: torch would put their traceback into their message."""

    def __init__(self, batches: StepBatches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Packed | _Failed:
        try:
            return self.batches[step]
        except _USERS as error:
            return _Failed(error.with_traceback(None))


class StepLoader:
    """The batches of one step after another, on the training's device.

    Args:
        batches: what makes them.
        steps: number of steps of the training, behind which nothing is made.
        workers: processes that make them ahead; 0 makes each in this one when it is asked for.
        device: where they are used.
    """

    def __init__(self, batches: StepBatches, steps: int, workers: int, device: torch.device) -> None:
        self.batches, self.steps, self.workers, self.device = batches, steps, workers, device
        self._made: Iterator[Packed | _Failed] | None = None
        self._next = -1
        self._processes: list[BaseProcess] = []

    def __call__(self, step: int) -> tuple[Any, list[str]]:
        """This rank's share of the batch of ``step`` and its ids; quickest for one step after another.

        Raises:
            AmodalError, OSError: a batch cannot be made.
            TrainingError: a worker process died.
        """
        if self._made is None or step != self._next:
            self._start(step)
        assert self._made is not None
        try:
            made = next(self._made)
        except Exception as error:
            if not (self._processes and _is_death(error)):
                raise
            problem = "a worker process that makes batches died, perhaps for want of memory, or of room in /dev/shm"
            raise TrainingError(f"{problem}; run the same command again with fewer loop.workers") from None
        if isinstance(made, _Failed):
            raise made.error
        self._next = step + 1
        return made.to(self.device).batch()

    def again(self, step: int) -> tuple[Any, list[str]]:
        """The same, made once more in this process."""
        return self.batches[step].to(self.device).batch()

    def close(self) -> None:
        """End the worker processes."""
        if self._processes:
            # torch does this when nobody holds the iterator, but the traceback of an error may.
            self._made._shutdown_workers()  # type: ignore[union-attr]
        for process in self._processes:
            if process.is_alive():  # it is still on its way, or has much to make
                process.kill()
            process.join()
        self._made, self._processes = None, []

    def _start(self, step: int) -> None:
        self.close()
        options: dict[str, Any] = {
            "batch_size": None,
            "sampler": range(step, self.steps),
            "collate_fn": _as_it_is,
            "pin_memory": self.device.type == "cuda",
            "generator": torch.Generator(),  # torch would draw a seed for its workers from the training's numbers
        }
        if not self.workers:
            self._made = iter(DataLoader(self.batches, **options))
            return
        told, before = _Told(self.batches), set(multiprocessing.active_children())
        with starting_workers(told) as context, _deaths_awaited():
            options |= {"num_workers": self.workers, "multiprocessing_context": context}
            self._made = iter(DataLoader(told, worker_init_fn=_begin, **options))
        self._processes = [process for process in multiprocessing.active_children() if process not in before]


def _is_death(error: Exception) -> bool:
    """Whether torch says that a worker is gone, or the way to it is; of what a worker raises it tells where."""
    if isinstance(error, RuntimeError):
        return str(error).startswith("DataLoader worker (pid")
    return isinstance(error, EOFError | ConnectionError | FileNotFoundError) and "Caught" not in str(error)


def count_workers(config: LoopConfig, device: torch.device) -> int:
    """The number of ``loop.workers``: where none is given, 0 for a CPU, whose cores have enough to do."""
    if config.workers is not None:
        return config.workers
    return min(_MOST_WORKERS, max(1, cores_of_this_rank() - 1)) if device.type == "cuda" else 0


def step_loader(maker: BatchMaker, config: LoopConfig, ranks: Ranks) -> StepLoader:
    """The batches of a training for one of its ranks."""
    batches = StepBatches(maker, config.seed, config.batch_size, ranks.rank, ranks.count)
    return StepLoader(batches, config.steps, count_workers(config, ranks.device), ranks.device)


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """The random generator of (seed, purpose, index): the same on every machine, whatever was drawn before."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *index])


def _as_it_is(made: Packed | _Failed) -> Packed | _Failed:
    return made


def _begin(_worker: int) -> None:
    """In a worker process: no GPU is there for it, and it ends at once.

    Where Python winds up while a thread hands over a batch, the thread is cut off in the middle of C++ code, which then
    complains.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    atexit.register(os._exit, 0)


@contextmanager
def _deaths_awaited() -> Iterator[None]:
    """Keep torch from raising an error at any line of the program when a worker dies; it is raised where the next batch
    is asked for, within seconds."""
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)
