"""The state of a training and one step of it."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shape3d_amodal import __version__
from shape3d_amodal.errors import TrainingError, UsageError
from shape3d_amodal.training.loop.checkpoints import Checkpoint
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.ema import WeightAverage
from shape3d_amodal.training.loop.interface import LoopConfig, Task
from shape3d_amodal.training.loop.loader import generator, step_loader
from shape3d_amodal.training.loop.packing import rows_of
from shape3d_amodal.training.loop.schedule import learning_rate


@dataclass(frozen=True)
class TrainResult:
    """Where a training stands: steps done, weights on the CPU (the running mean where it is on), last metrics."""

    step: int
    weights: dict[str, Tensor]
    metrics: dict[str, float]


class Trainer:
    """The state of a training (module, running mean, optimiser) and one step of it.

    It is closed at its end, since processes may work for it (``with closing(trainer)``).
    """

    def __init__(self, task: Task, config: LoopConfig, ranks: Ranks) -> None:
        check_parts(config, ranks.count)
        check_norms(config, ranks.count, ranks.device)
        self.task, self.config, self.ranks = task, config, ranks
        task.ranks = ranks
        self.module = task.modules().to(ranks.device)
        if config.sync_batchnorm and ranks.count > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(self.module)  # within the module; the names of its state stay
        self.named = {name: tensor for name, tensor in self.module.named_parameters() if tensor.requires_grad}
        self.parameters = list(self.named.values())
        self.optimizer = _optimizer(self.parameters, config)
        self.average = WeightAverage(self.module, config.ema_decay)
        self.forward: nn.Module = _Losses(task)
        if ranks.count > 1:
            # Buffers are the statistics of batch norm, which no step reads: ``share_statistics`` does when it matters.
            unused = task.unused_parameters
            self.forward = DistributedDataParallel(self.forward, broadcast_buffers=False, find_unused_parameters=unused)
        self.batches = step_loader(task.maker, config, ranks)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and _fast_bf16(ranks.device))

    def close(self) -> None:
        """End the processes that make batches."""
        self.batches.close()

    def step(self, step: int) -> dict[str, float]:
        """Take the 0-based optimiser step ``step``; returns this rank's losses, and the gradient's norm."""
        config = self.config
        rate = learning_rate(step, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, float] = {}
        for part, (batch, ids) in enumerate(self._parts(self.batches(step))):
            last = part == config.accumulate - 1
            with nullcontext() if last or self.ranks.count == 1 else self.forward.no_sync():  # type: ignore[operator]
                terms = self._terms(self.forward, batch, step, part)
                stacked = torch.stack([term.float() for term in terms.values()])
                values = dict(zip(terms, stacked.tolist(), strict=True))
                self._guard(values, step, ids)
                (stacked.sum() / config.accumulate).backward()
            for name, value in values.items():
                losses[name] = losses.get(name, 0.0) + value / config.accumulate
        norm = nn.utils.clip_grad_norm_(self.parameters, config.clip_norm or math.inf).item()
        if not math.isfinite(norm):
            self._blame_gradient(step)
        self.optimizer.step()
        self.average.update(step)
        return {**losses, "gradient_norm": norm}

    def share_statistics(self) -> None:
        """Let all ranks have the buffers of rank 0: those of batch norm are of each rank's own rows."""
        means = (mean for name, mean in self.average.state.items() if name not in self.average.trained)
        self.ranks.take_first([*self.module.buffers(), *means])

    def validate(self, step: int) -> dict[str, float]:
        self.share_statistics()
        with self._evaluating():
            return self.task.validate(step)

    def sample_images(self, step: int) -> dict[str, np.ndarray]:
        with self._evaluating():
            return self.task.sample_images(step)

    def weights(self) -> dict[str, Tensor]:
        state = self.average.state or self.module.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def checkpoint(self, step: int, settings: dict[str, object], seconds: float) -> Checkpoint:
        optimizer = {
            f"{name}/{key}": value
            for name, parameter in self.named.items()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }
        versions = {"shape3d_amodal": __version__, "torch": torch.__version__, "python": platform.python_version()}
        return Checkpoint(
            step=step,
            model=self.module.state_dict(),
            ema=self.average.state,
            optimizer=optimizer,
            settings=settings,
            seconds=seconds,
            versions=versions,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where ``checkpoint`` was taken."""
        _check_tensors("model", checkpoint.model, self.module.state_dict())
        _check_tensors("ema", checkpoint.ema, self.average.state)
        self.module.load_state_dict(checkpoint.model)
        for name, mean in self.average.state.items():
            mean.copy_(checkpoint.ema[name])
        names = {id(parameter): name for name, parameter in self.named.items()}
        order = [names[id(p)] for group in self.optimizer.param_groups for p in group["params"]]
        states: dict[str, dict[str, Tensor]] = {}
        for key, tensor in checkpoint.optimizer.items():
            name, _, part = key.rpartition("/")
            states.setdefault(name, {})[part] = _laid_out_as(self.named[name], tensor)
        state = {index: states[name] for index, name in enumerate(order) if name in states}
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def _parts(self, made: tuple[Any, list[str]]) -> Iterator[tuple[Any, list[str]]]:
        """This rank's rows of a batch and their ids, in ``accumulate`` equal parts."""
        batch, ids = made
        size = len(ids) // self.config.accumulate
        for rows in (slice(part * size, (part + 1) * size) for part in range(self.config.accumulate)):
            yield rows_of(batch, rows), ids[rows]

    def _terms(self, forward: nn.Module, batch: Any, step: int, part: int) -> dict[str, Tensor]:
        seeds = generator(self.config.seed, "step", step, self.ranks.rank, part)
        torch.manual_seed(int(seeds.integers(2**63)))
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.bf16):
            return forward(batch, step, step / max(1, self.config.steps - 1))

    def _guard(self, values: dict[str, float], step: int, ids: list[str]) -> None:
        for name, value in values.items():
            if not abs(value) <= _DIVERGED:  # nor is NaN
                problem = f"loss term '{name}' is {value:g} for the samples {', '.join(ids)}"
                raise TrainingError(f"{self.task.name}: step {step}: {problem}; {_REMEDY}")

    def _blame_gradient(self, step: int) -> None:
        """Raise an error that names the term whose gradient is not finite, found by going over the step once more."""
        for part, (batch, ids) in enumerate(self._parts(self.batches.again(step))):
            for name in self._terms(_Losses(self.task), batch, step, part):
                term = self._terms(_Losses(self.task), batch, step, part)[name]
                gradients = torch.autograd.grad(term, self.parameters, allow_unused=True) if term.requires_grad else ()
                if not all(gradient is None or gradient.isfinite().all() for gradient in gradients):
                    problem = f"the gradient of loss term '{name}' is not finite for the samples {', '.join(ids)}"
                    raise TrainingError(f"{self.task.name}: step {step}: {problem}; {_REMEDY}")
        raise TrainingError(f"{self.task.name}: step {step}: another rank's gradient is not finite, see its message")

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """The averaged weights, in evaluation mode, without gradients, and with the same random numbers every time."""
        self.module.eval()
        torch.manual_seed(self.config.seed)
        with self.average.applied(), torch.no_grad():
            yield


def check_parts(config: LoopConfig, ranks: int) -> None:
    """
    Raises:
        UsageError: a batch cannot be dealt out evenly.
    """
    parts = ranks * config.accumulate
    if config.batch_size % parts:
        problem = f"expected a multiple of {ranks} ranks x {config.accumulate} accumulated parts"
        less = config.batch_size // parts * parts
        sizes = f"{less} or {less + parts}" if less else str(parts)
        raise UsageError(f"loop.batch_size: {problem}, got {config.batch_size}; use {sizes}, or change loop.accumulate")


def check_norms(config: LoopConfig, ranks: int, device: torch.device) -> None:
    """
    Raises:
        UsageError: batch norm cannot look at the rows of all ranks.
    """
    if config.sync_batchnorm and ranks > 1 and device.type != "cuda":
        problem = f"expected a GPU for each of {ranks} ranks, got {device.type}"
        raise UsageError(f"loop.sync_batchnorm: {problem}; set it to false, or train on GPUs")


def _optimizer(parameters: list[nn.Parameter], config: LoopConfig) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


_DIVERGED = 1e6
"""Losses are means of the order of 1: one beyond this will not come back."""
_REMEDY = "no step was taken; look at these samples or lower loop.learning_rate, then resume"


class _Losses(nn.Module):
    """The task's losses as a module's forward pass, which is what DistributedDataParallel can wrap."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.trained = task.modules()
        self.losses = task.losses

    def forward(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        return self.losses(batch, step, progress)


def _fast_bf16(device: torch.device) -> bool:
    """Whether ``device`` has matrix units for bf16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Private in torch, so it may move: without it float32 is the safe answer.
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """``tensor`` in the memory order of ``parameter``: fused optimisers go through both as if they were flat."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _check_tensors(part: str, saved: dict[str, Tensor], current: dict[str, Tensor]) -> None:
    for name in sorted(saved.keys() | current.keys()):
        shapes = [tuple(state[name].shape) if name in state else None for state in (saved, current)]
        if shapes[0] != shapes[1]:
            problem = f"{part} tensor '{name}' is {shapes[0]} in the checkpoint and {shapes[1]} in this model"
            raise TrainingError(f"{problem}; use the configuration it was made with or another output folder")
