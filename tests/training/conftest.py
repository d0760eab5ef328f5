from __future__ import annotations

import pytest
from toy import QUICK

from shape3d_amodal.training.loop import LoopConfig


@pytest.fixture
def quick() -> LoopConfig:
    return LoopConfig(**QUICK)
