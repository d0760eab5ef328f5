"""Several seeds for a short while, and the training goes on from the best of them.

Shape and viewpoint are found together and can lock into each other the wrong way; which seeds do shows early, in how
well the silhouettes explain the very crops that are trained on. No label is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch

from shape3d_amodal.config import Count, configuration
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.interface import LoopConfig, Task
from shape3d_amodal.training.loop.trainer import Trainer

logger = logging.getLogger(__name__)


@configuration
class RestartsConfig:
    """Seeds to try, starting with loop.seed; the time for it does not count towards loop.max_minutes."""

    seeds: Count = 1
    """Number of seeds; 1 tries no others."""
    steps: Count = 300
    """Steps of each seed, the first ones of the whole schedule; then the schedule starts again, from the weights of the
    best seed."""


def best_start(
    task: Task,
    restart: Callable[[int], None],
    score: Callable[[float], float],
    restarts: RestartsConfig,
    loop: LoopConfig,
    ranks: Ranks,
) -> None:
    """Leave ``task``'s module with the weights of the best seed after ``restarts.steps`` steps; the first of equals.

    It depends on the configuration and data alone, so a training that is stopped before its first checkpoint comes to
    the same weights again.

    Args:
        restart: lets ``task`` stand where a training with this seed starts.
        score: how well the training crops are explained after this share of the schedule; higher is better.
    """
    steps = min(restarts.steps, loop.steps)
    best, weights = -1.0, {}
    for seed in range(loop.seed, loop.seed + restarts.seeds):
        restart(seed)
        trainer = Trainer(task, replace(loop, seed=seed, ema_decay=0.0), ranks)
        with closing(trainer):
            for step in range(steps):
                trainer.step(step)
            trainer.share_statistics()
        task.modules().eval()
        with torch.no_grad():
            found = ranks.maximum(score(steps / loop.steps))
        if ranks.first:
            logger.info("restarts: seed %d has a certain-pixel IoU of %.4f after %d steps", seed, found, steps)
        if found > best:
            best, weights = found, trainer.weights()
    task.modules().load_state_dict(weights)
