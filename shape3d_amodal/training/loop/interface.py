"""The options of the training loop, what it trains (``Task``), and what makes a task (``TrainingConfig``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import Field
from typing_extensions import Self

from shape3d_amodal.config import Count, configuration, dump_config

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from shape3d_amodal.training.loop.distributed import Ranks

P = TypeVar("P")
T = TypeVar("T")


@configuration
class LoopConfig:
    """The training loop: optimiser, schedule, and when it logs, validates and saves."""

    steps: Count = 10_000
    """Number of optimiser steps."""
    batch_size: Count = 32
    """Samples of one optimiser step, summed over all ranks and accumulated parts."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """adamw, or sgd: stochastic gradient descent with momentum, with which most detectors are published."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd."""
    learning_rate: Annotated[float, Field(ge=0)] = 1e-3
    """Highest learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay; it applies to parameters of two or more dimensions."""
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    """Steps over which the learning rate rises linearly from zero."""
    schedule: Literal["cosine", "step"] = "cosine"
    """How the learning rate falls after the warm-up: cosine, or step, which lowers it at ``milestones``."""
    final_rate: float = 0.01
    """cosine: last learning rate, as a share of the highest."""
    milestones: tuple[float, ...] = (0.6, 0.85)
    """step: when the learning rate is lowered, as shares (0..1) of all steps."""
    decay: float = 0.1
    """step: what the learning rate is multiplied by at each milestone."""
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Largest L2 norm of the gradient; a longer gradient is scaled down to it. 0 sets no limit."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the exponential moving average of the weights, which is what is saved at the end; 0 saves the weights
    themselves."""
    sync_batchnorm: bool = False
    """On several GPUs, let batch norm look at the rows of all ranks in training; otherwise each looks at its own."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Number format of the forward pass; auto is bf16 on GPUs and on CPUs with AMX, otherwise float32."""
    accumulate: Count = 1
    """Number of parts into which each rank splits its share of a batch to save memory; their gradients are averaged."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of all random numbers."""
    log_every: Count = 20
    """Steps between two lines of the log."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 500
    """Steps between two checkpoints; 0 saves one only at the end."""
    keep_checkpoints: Count = 3
    """How many of the newest checkpoints are kept."""
    validate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between two validations; 0 validates only at the end."""
    sample_every: Annotated[int, Field(ge=0)] = 0
    """Steps between two sets of sample images; 0 makes them only at the end."""
    max_minutes: Annotated[float, Field(ge=0)] = 0.0
    """Minutes after which the training saves a checkpoint and stops; 0 sets no limit."""
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Processes of each rank that make batches ahead of their use; 0 makes them in the rank itself. By default 0 on a
    CPU, and for a GPU all cores but one, 8 at most. What is learned does not depend on it."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of PyTorch in each process; 0 uses all cores."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """Device: auto, cpu, cuda or cuda:N; auto is cuda where there is a GPU."""


class BatchMaker(ABC):
    """Draws and makes the batches of a training. It travels to worker processes, so it holds no network.

    Whatever is random about a batch is drawn in ``plan``, for all of its rows; ``make`` adds nothing by chance, and
    what it makes of a row depends on that row of the plan alone. So a process makes its own rows only, and they are
    the same on any number of processes.
    """

    @abstractmethod
    def plan(self, step: int, generator: np.random.Generator, size: int) -> Any:
        """What the ``size`` samples of the 0-based ``step`` are made of, drawn from ``generator`` alone; quick.

        An array, or an object with ``[slice]``, of ``size`` rows.
        """

    @abstractmethod
    def make(self, plan: Any) -> Any:
        """The samples of the rows of ``plan``, on the CPU: a tensor, a tuple or dict of batches, or a dataclass of
        tensors with ``[slice]``; all that it holds has as many rows as the plan.

        Raises:
            DataError: a file cannot be read.
        """

    @abstractmethod
    def ids(self, plan: Any) -> list[str]:
        """What to call the rows of ``plan`` in messages."""


class Task(ABC):
    """What one stage or baseline brings to the loop."""

    name: str
    maker: BatchMaker
    """What draws and makes its batches."""
    network: Any
    """The module to train, where ``modules`` is not overridden."""
    unused_parameters: bool = False
    """Whether trained parameters may have no part in a step's losses; then several ranks look for them at each step."""
    ranks: Ranks | None = None
    """Who trains; set by the training."""

    def modules(self) -> nn.Module:
        """The module to train, always the same one; parameters that stay fixed have ``requires_grad`` False."""
        return self.network

    def begin(self, config: LoopConfig, ranks: Ranks) -> None:  # noqa: ARG002
        """Choose the weights to start from; called once on every rank, before the first step and not on resume."""
        return

    def batch(self, step: int, generator: np.random.Generator, size: int) -> tuple[Any, list[str]]:
        """All ``size`` samples of the 0-based ``step`` and their ids, drawn from ``generator`` alone."""
        plan = self.maker.plan(step, generator, size)
        return self.maker.make(plan), self.maker.ids(plan)

    @abstractmethod
    def losses(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Named scalar losses, means over the batch's rows, already weighted: the training minimises their sum.

        The names may depend on ``step`` and ``progress`` (0..1, the share of steps done), but not on the batch.
        """

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        """Named metrics after ``step`` steps; called in evaluation mode, without gradients, on every rank.

        The ranks have the same weights and share the work by ``over_ranks``; what rank 0 returns counts.
        """
        return {}

    def over_ranks(self, function: Callable[[P], T], parts: Sequence[P]) -> list[T]:
        """``function`` of each part, in their order, to which every rank does its share.

        The results travel between the ranks: small things, with tensors on the CPU.
        """
        return [function(part) for part in parts] if self.ranks is None else self.ranks.map(function, parts)

    @property
    def first_rank(self) -> bool:
        """Whether this is rank 0: what all have found is scored there alone."""
        return self.ranks is None or self.ranks.first

    def sample_images(self, step: int) -> dict[str, np.ndarray]:  # noqa: ARG002
        """Named images [H,W,3] uint8 after ``step`` steps, called like ``validate``, but on rank 0 alone."""
        return {}

    def finish(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights to leave behind, from the trained ones on the CPU; called once at the end, on rank 0 alone."""
        return weights


class TrainingConfig(ABC):
    """A training as its YAML file says it; subclasses are ``@configuration`` classes with at least these fields."""

    stage: str
    """What is trained: the key of the class in ``training.registry``."""
    loop: LoopConfig
    """The training loop."""
    train: Any
    validation: Any
    model: Any

    @abstractmethod
    def task(self, cache: Path, *, workers: int) -> Task:
        """The task, its module as ``loop.seed`` makes it.

        Args:
            cache: folder for data that are made and kept.
            workers: processes that make data; what is made does not depend on it.

        Raises:
            UsageError: options do not fit each other or the data.
            DataError: the data cannot be used.
            WeightsError: the weights to start from cannot be used.
        """

    def check(self) -> None:  # noqa: B027  # most trainings need nothing that a dry run can do without
        """
        Raises:
            UsageError: something is missing that only a dry run can do without.
        """

    def named(self) -> Self:
        """The same training with the categories that its data name, where it takes them from there.

        Raises:
            UsageError: it has no data that could name any.
            DataError: the data cannot be read, or name none.
        """
        return self

    def smaller(self) -> Self:
        """The same training with little data, for a dry run; by default with fewer of ``train`` and ``validation``."""
        return replace(cast(Any, self), train=self.train.smaller(), validation=self.validation.smaller())

    def for_its_steps(self) -> Self:
        """The same training with no more scenes to make than its steps can look at, of which a short one needs few;
        scenes give at least a sample each."""
        return replace(cast(Any, self), train=self.train.at_most(self.loop.steps * self.loop.batch_size))

    def weights_config(self) -> str:
        """The YAML text that is put beside the weights: from it alone the module is built again. By default it is the
        option ``model``."""
        return dump_config(self.model)
