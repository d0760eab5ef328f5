"""A task small enough to train in milliseconds, with everything a real one has: dropout, batch norm, a frozen part.

Run as a script it trains in a process of its own: ``python toy.py OUTPUT OPTIONS``, where OPTIONS is JSON with the
loop's options and the task's, and ``kill``: [rank, step, file], to be killed once, when ``file`` is not there yet.
``ranks`` lists what differs from rank to rank, of which ``node`` is a folder of its own within OUTPUT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from shape3d_amodal.errors import AmodalError
from shape3d_amodal.launcher import place_of
from shape3d_amodal.training.loop.interface import BatchMaker
from shape3d_amodal.training.loop.training import LoopConfig, Task, train

QUICK = {
    "steps": 20,
    "batch_size": 8,
    "warmup_steps": 2,
    "precision": "float32",
    "log_every": 5,
    "checkpoint_every": 5,
    "threads": 1,
    "device": "cpu",
}


class ToyMaker(BatchMaker):
    def plan(self, step: int, generator: np.random.Generator, size: int) -> dict[str, np.ndarray]:
        x = generator.normal(size=(size, 4)).astype(np.float32)
        return {"x": x, "id": np.array([f"{step}-{row}" for row in range(size)])}

    def make(self, plan: dict[str, np.ndarray]) -> dict[str, Tensor]:
        x = torch.from_numpy(plan["x"])
        return {"x": x, "y": x[:, :2] - x[:, 2:]}

    def ids(self, plan: dict[str, np.ndarray]) -> list[str]:
        return plan["id"].tolist()


class ToyTask(Task):
    """Regress a fixed linear map of 4 numbers to 2; the network's first weights are always the same."""

    def __init__(self, *, noisy: bool = True, poison: str = "", poisoned_step: int = 3, kill: tuple = ()) -> None:
        self.name, self.maker = "toy", ToyMaker()
        self.poison, self.poisoned_step, self.kill = poison, poisoned_step, kill
        torch.manual_seed(0)
        extras = [nn.BatchNorm1d(8), nn.Dropout(0.3)] if noisy else []
        frozen = nn.Linear(2, 2).requires_grad_(False)
        nn.init.eye_(frozen.weight)
        self.net = nn.Sequential(nn.Linear(4, 8), *extras, nn.Tanh(), nn.Linear(8, 2))
        self.net.add_module("frozen", frozen)
        self.modes: list[tuple[bool, bool]] = []

    def modules(self) -> nn.Module:
        return self.net

    def losses(self, batch: dict[str, Tensor], step: int, progress: float) -> dict[str, Tensor]:
        assert 0 <= progress <= 1
        if self.kill and step == self.kill[1] and os.environ["RANK"] == str(self.kill[0]):
            kill_once(Path(self.kill[2]))
        out = self.net(batch["x"])
        terms = {"fit": (out - batch["y"]).square().mean(), "size": 0.01 * out.square().mean()}
        if step == self.poisoned_step and self.poison == "loss":
            terms["size"] = terms["size"] * float("nan")
        if step == self.poisoned_step and self.poison == "divergence":
            terms["size"] = terms["size"] * 1e9
        if step == self.poisoned_step and self.poison == "gradient":
            terms["size"] = terms["size"] + (out - out).sum().sqrt()  # value 0, gradient 0 * inf
        return terms

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        self.modes.append((self.net.training, torch.is_grad_enabled()))
        x = torch.linspace(-1, 1, 16).reshape(4, 4)
        errors = self.over_ranks(
            lambda row: float((self.net(row) - (row[:, :2] - row[:, 2:])).square().mean()), x[:, None]
        )
        return {"error": float(np.mean(errors))}

    def sample_images(self, step: int) -> dict[str, np.ndarray]:
        return {"grey": np.full((8, 8, 3), step % 256, np.uint8)}


def kill_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def main(output: str, options: str) -> None:
    given = {**QUICK, **json.loads(options)}
    differing = given.pop("ranks", None)
    if differing is not None:
        given |= differing[place_of(os.environ).rank]
        output = f"{output}/{given.pop('node', '')}"
    task = ToyTask(**{name: given.pop(name) for name in ("noisy", "kill") if name in given})
    try:
        train(task, LoopConfig(**given), output)
    except AmodalError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(*sys.argv[1:])
