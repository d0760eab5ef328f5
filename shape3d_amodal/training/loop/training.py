"""One training loop for all stages and baselines.

On one machine: ``shape3d-amodal train configs/open13/shape_prior.yaml``; on several GPUs or processes:
``torchrun --nproc-per-node 2 --max-restarts 3 -m shape3d_amodal train configs/open13/shape_prior.yaml``, or srun. Only
rank 0 writes, and all share the validation; a run on several machines needs an output folder that all of them see, and
TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 beside ``--max-restarts`` (see ``distributed.py``).

Whatever is random in a step is drawn from (seed, step), so a training that was stopped and resumed gives, on a CPU, the
same bits as one that was not. Several ranks have the gradients of one, but for batch norm, which in training looks at
the rows of each rank and accumulated part alone (of all ranks with ``sync_batchnorm``).
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from shape3d_amodal.errors import UsageError
from shape3d_amodal.training.loop.agreement import check_same_folder, check_same_options, common_checkpoint
from shape3d_amodal.training.loop.checkpoints import Checkpoint, CheckpointFolder
from shape3d_amodal.training.loop.distributed import join, use_threads
from shape3d_amodal.training.loop.interface import LoopConfig, Task
from shape3d_amodal.training.loop.logging import Meter, ProgressLine, TrainingLog
from shape3d_amodal.training.loop.settings import check_settings, describe
from shape3d_amodal.training.loop.trainer import Trainer, TrainResult

logger = logging.getLogger(__name__)

TIME_IS_UP = 1
"""Why a training halts, beside the numbers of the signals SIGINT (2) and SIGTERM (15), which go before it."""


def train(
    task: Task,
    config: LoopConfig,
    output: str | Path,
    *,
    resume: bool = True,
    dry_run: bool = False,
    experiment: Any = None,
) -> TrainResult:
    """Train ``task`` and leave checkpoints, ``log.jsonl`` and TensorBoard events in ``output``.

    Args:
        resume: go on from the newest intact checkpoint in ``output``; False refuses a folder that has one.
        dry_run: one batch through everything, nothing written.
        experiment: configuration dataclass of the whole experiment, remembered in checkpoints; a resume checks it.

    Raises:
        TrainingError: a loss or gradient is not finite, the disk is full, checkpoints are damaged or of another model.
        UsageError: an option is wrong or differs from the checkpoint's, or the ranks have different options or folders.
        SystemExit: 143 after SIGTERM, 130 after SIGINT; the step is finished and saved before.
    """
    with join(config.device) as ranks:
        use_threads(config.threads)
        if dry_run:
            trainer = Trainer(task, replace(config, workers=0), ranks)
            trainer.step(0)
            metrics = trainer.validate(1)
            trainer.sample_images(1)
            return TrainResult(1, trainer.weights(), metrics)
        folder = CheckpointFolder(Path(output), config.keep_checkpoints)
        settings = describe(task.name, config, experiment)
        check_same_options(settings, ranks)
        check_same_folder(folder, ranks)
        if not resume:
            refuse_checkpoints(Path(output))
        checkpoint = common_checkpoint(folder, ranks)
        if checkpoint is not None:
            check_settings(checkpoint.settings, settings, folder.path(checkpoint.step))
        else:
            task.begin(config, ranks)
        trainer = Trainer(task, config, ranks)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        ranks.wait()
        if ranks.first:
            folder.clear_temporary()
        with closing(trainer):
            return _run(trainer, folder, settings, checkpoint)


def refuse_checkpoints(output: Path) -> None:
    """
    Raises:
        UsageError: ``output`` has a checkpoint.
    """
    if CheckpointFolder(output).steps():
        raise UsageError(f"{output}: holds checkpoints of an earlier training; resume it or choose another folder")


def _run(
    trainer: Trainer, folder: CheckpointFolder, settings: dict[str, object], checkpoint: Checkpoint | None
) -> TrainResult:
    """The steps that are left, with everything that happens every so often between them."""
    config, ranks = trainer.config, trainer.ranks
    start, seconds = (checkpoint.step, checkpoint.seconds) if checkpoint else (0, 0.0)
    meter = Meter(start)
    begin = time.monotonic()
    step, halt, metrics = start, 0, dict[str, float]()
    with (
        StopSignals() as stop,
        TrainingLog(folder.folder if ranks.first else None, start) as log,
        ProgressLine(trainer.task.name, config.steps, start, shown=ranks.first) as line,
    ):
        while step < config.steps and not halt:
            meter.add(trainer.step(step))
            step += 1
            line.update(line.row, completed=step)
            elapsed = time.monotonic() - begin
            timed_out = config.max_minutes > 0 and elapsed > 60 * config.max_minutes
            halt = int(ranks.maximum(stop.signal or (TIME_IS_UP if timed_out else 0)))
            last = step == config.steps or halt != 0
            if last or step % config.log_every == 0:
                record = meter.record(step, config, ranks, seconds + elapsed)
                log.write(step, record)
                line.report(step, record["losses"]["total"], record["steps_per_second"])
            if last or _due(step, config.checkpoint_every):
                if ranks.first:
                    folder.save(trainer.checkpoint(step, settings, seconds + elapsed))
                ranks.wait()
            if halt > TIME_IS_UP:
                logger.info(
                    "stopped by signal %d after step %d, which is saved; the same command goes on from there",
                    halt,
                    step,
                )
                raise SystemExit(128 + halt)
            if last or _due(step, config.validate_every):
                metrics = trainer.validate(step)
                if metrics:
                    log.write(step, {"validation": metrics})
            if ranks.first and (last or _due(step, config.sample_every)):
                log.show(step, trainer.sample_images(step))
    if step == start:
        metrics = trainer.validate(step)
    return TrainResult(step, trainer.weights(), metrics)


class StopSignals:
    """While entered, SIGTERM and SIGINT only set ``signal`` to their number (SIGQUIT still ends the process at once).

    A second signal changes nothing: torchrun forwards one that the process has received already. Only the main thread
    may set signal handlers; in another thread this does nothing.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
