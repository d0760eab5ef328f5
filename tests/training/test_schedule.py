from __future__ import annotations

import pytest

from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.loop.schedule import learning_rate

COSINE = LoopConfig(steps=13, warmup_steps=4, learning_rate=2.0, schedule="cosine", final_rate=0.1)
STEP = LoopConfig(steps=10, warmup_steps=2, learning_rate=1.0, schedule="step", milestones=(0.5, 0.8), decay=0.1)


@pytest.mark.parametrize(
    ("config", "step", "expected"),
    [
        (COSINE, 0, 0.5),
        (COSINE, 3, 2.0),
        (COSINE, 4, 2.0),
        (COSINE, 6, 2 * (0.1 + 0.9 * (1 + 2**-0.5) / 2)),  # cos 45 deg
        (COSINE, 8, 2 * 0.55),
        (COSINE, 12, 0.2),
        (COSINE, 99, 0.2),
        (STEP, 0, 0.5),
        (STEP, 4, 1.0),
        (STEP, 5, 0.1),
        (STEP, 8, 0.01),
        (LoopConfig(steps=1, warmup_steps=0, learning_rate=3.0), 0, 3.0),
    ],
)
def test_learning_rate(config, step, expected):
    assert learning_rate(step, config) == pytest.approx(expected)
