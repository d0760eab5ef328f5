"""A task small enough to train in milliseconds, with everything a real one has: dropout, batch norm, a frozen part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shape3d_amodal.training.loop import LoopConfig, Task


class ToyTask(Task):
    """Regress a fixed linear map of 4 numbers; the network is random by seed 0."""

    def __init__(self, *, noisy: bool = True, poison: str = "", poisoned_step: int = 3) -> None:
        self.name = "toy"
        self.poison, self.poisoned_step = poison, poisoned_step
        torch.manual_seed(0)
        extras = [nn.BatchNorm1d(8), nn.Dropout(0.3)] if noisy else []
        self.net = nn.Sequential(nn.Linear(4, 8), *extras, nn.Tanh(), nn.Linear(8, 2))
        self.net.add_module("frozen", nn.Linear(2, 2).requires_grad_(False))
        nn.init.eye_(self.net.frozen.weight)
        self.trained_in: list[tuple[bool, bool]] = []

    def modules(self) -> nn.Module:
        return self.net

    def batch(self, step: int, generator: np.random.Generator, size: int) -> tuple[dict[str, Tensor], list[str]]:
        x = torch.from_numpy(generator.normal(size=(size, 4)).astype(np.float32))
        return {"x": x, "y": x[:, :2] - x[:, 2:]}, [f"{step}-{row}" for row in range(size)]

    def losses(self, batch: dict[str, Tensor], step: int, progress: float) -> dict[str, Tensor]:
        assert 0 <= progress <= 1
        out = self.net(batch["x"])
        terms = {"fit": (out - batch["y"]).square().mean(), "size": 0.01 * out.square().mean()}
        if step == self.poisoned_step and self.poison == "loss":
            terms["size"] = terms["size"] * float("nan")
        if step == self.poisoned_step and self.poison == "gradient":
            terms["size"] = terms["size"] + (out - out).sum().sqrt()
        return terms

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        self.trained_in.append((self.net.training, torch.is_grad_enabled()))
        x = torch.linspace(-1, 1, 16).reshape(4, 4)
        return {"error": float((self.net(x) - (x[:, :2] - x[:, 2:])).square().mean())}

    def sample_pictures(self, step: int) -> dict[str, np.ndarray]:
        return {"grey": np.full((8, 8, 3), step % 256, np.uint8)}


@pytest.fixture
def toy() -> type[ToyTask]:
    return ToyTask


@pytest.fixture
def quick() -> LoopConfig:
    return LoopConfig(
        steps=20,
        batch_size=8,
        warmup_steps=2,
        precision="float32",
        log_every=5,
        checkpoint_every=5,
        threads=1,
        device="cpu",
    )
