"""Makers of batches that tell what happens to them, or fail; in a module of their own, so that workers find them."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import torch
from torch import Tensor

from shape3d_amodal.errors import DataError
from shape3d_amodal.training.loop.interface import BatchMaker


class Numbers(BatchMaker):
    """Row r of step k is k + r / 100 and a random number."""

    def plan(self, step: int, generator: np.random.Generator, size: int) -> np.ndarray:
        return np.stack([step + np.arange(size) / 100, generator.random(size)], axis=1)

    def make(self, plan: np.ndarray) -> Tensor:
        return torch.from_numpy(plan)

    def ids(self, plan: np.ndarray) -> list[str]:
        return [f"{row:.2f}" for row in plan[:, 0]]


class Failing(Numbers):
    """Fails at step 2: by an error, or by death."""

    def __init__(self, *, killed: bool = False) -> None:
        self.killed = killed

    def make(self, plan: np.ndarray) -> Tensor:
        if plan[0, 0] < 2:
            return super().make(plan)
        if self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        raise DataError("expected a picture, got a song; take another", file="a.png", field="pixels")


class Placed(Numbers):
    """Tells the process, its parent, its threads, its visible GPUs and the signals that it holds back."""

    def make(self, plan: np.ndarray) -> Tensor:
        held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        found = [os.getpid(), os.getppid(), torch.get_num_threads(), len(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))]
        numbers = [*found, signal.SIGINT in held, signal.SIGTERM in held]
        return torch.tensor([numbers] * len(plan), dtype=torch.int64)


class Slow(Numbers):
    """Takes a while."""

    def make(self, plan: np.ndarray) -> Tensor:
        time.sleep(0.5)
        return super().make(plan)


class Large(Numbers):
    """Batches of 64 MiB, which take a while to hand over."""

    def make(self, plan: np.ndarray) -> Tensor:
        return torch.ones(len(plan), 64 * 2**20 // len(plan), dtype=torch.uint8)
