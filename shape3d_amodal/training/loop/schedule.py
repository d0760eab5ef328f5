"""Learning rate schedules: a function of the step alone, so that nothing of them needs saving.

torch's schedulers multiply in another order, which changes the last digit of some rates, and have a state to restore.
"""

from __future__ import annotations

import math

from shape3d_amodal.training.loop.interface import LoopConfig


def learning_rate(step: int, config: LoopConfig) -> float:
    """The rate of step ``step`` (0-based): a linear warm-up over ``warmup_steps``, then the schedule over the rest.

    ``cosine`` falls from ``learning_rate`` to ``final_rate`` times it at the last step (SGDR, Loshchilov & Hutter 2017,
    eq. 5, without restarts); ``step`` multiplies it by ``decay`` at each of the ``milestones``.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps)
    if config.schedule == "cosine":
        share = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return config.learning_rate * (config.final_rate + (1 - config.final_rate) * share)
    passed = sum(step >= milestone * config.steps for milestone in config.milestones)
    return float(config.learning_rate * config.decay**passed)
