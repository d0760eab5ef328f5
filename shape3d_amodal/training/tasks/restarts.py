"""Several seeds for a short while, and the training goes on from the best of them.

Shape and viewpoint are found together and can lock into each other the wrong way; which seeds do shows early, in how
well the silhouettes explain the very crops that are trained on. No label is looked at.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.config import Count, configuration
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.interface import LoopConfig, Task
from shape3d_amodal.training.loop.trainer import Trainer

_SCORED = 256
"""Training crops, at most, that every seed is scored on."""

logger = logging.getLogger(__name__)


@configuration
class RestartsConfig:
    """Seeds to try, starting with loop.seed; the time for it does not count towards loop.max_minutes."""

    seeds: Count = 1
    """Number of seeds; 1 tries no others."""
    steps: Count = 300
    """Steps of each seed, the first ones of the whole schedule; then the schedule starts again, from the weights of the
    best seed."""


class Restartable(Task, ABC):
    """A task that can be started from several seeds.

    Attributes:
        pool_size: number of training crops.
    """

    pool_size: int

    @abstractmethod
    def restart(self, seed: int) -> None:
        """Stand where a training with this seed starts."""

    @abstractmethod
    def training_score(self, rows: NDArray[np.int64], progress: float) -> float:
        """How well the training crops ``rows`` are explained after this share of the schedule; higher is better."""


def best_start(task: Restartable, restarts: RestartsConfig, loop: LoopConfig, ranks: Ranks) -> None:
    """Leave ``task``'s module with the weights of the best seed after ``restarts.steps`` steps; the first of equals.

    It depends on the configuration and data alone, so a training that is stopped before its first checkpoint comes to
    the same weights again.
    """
    scored = np.linspace(0, task.pool_size - 1, min(_SCORED, task.pool_size)).astype(np.int64)
    steps = min(restarts.steps, loop.steps)
    best, weights = -1.0, {}
    for seed in range(loop.seed, loop.seed + restarts.seeds):
        task.restart(seed)
        trainer = Trainer(task, replace(loop, seed=seed, ema_decay=0.0), ranks)
        for step in range(steps):
            trainer.step(step)
        score = ranks.maximum(_score(task, scored, steps / loop.steps))
        if ranks.first:
            logger.info("restarts: seed %d has a certain-pixel IoU of %.4f after %d steps", seed, score, steps)
        if score > best:
            best, weights = score, trainer.weights()
    task.modules().load_state_dict(weights)


def _score(task: Restartable, rows: NDArray[np.int64], progress: float) -> float:
    task.modules().eval()
    with torch.no_grad():
        return task.training_score(rows, progress)
