"""One training loop for all stages and baselines.

On one machine: ``shape3d-amodal train configs/open13/prior.yaml``; on several GPUs or processes:
``torchrun --nproc-per-node 2 -m shape3d_amodal train configs/open13/prior.yaml``. Only rank 0 writes; a run on several
machines needs an output folder that all of them see.

Whatever is random in a step is drawn from (seed, step), so a training that was stopped and resumed gives, on a CPU, the
same bits as one that was not.
"""

from __future__ import annotations

import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from shape3d_amodal.errors import UsageError
from shape3d_amodal.training.checkpoints import CheckpointFolder
from shape3d_amodal.training.distributed import join, use_threads
from shape3d_amodal.training.interface import LoopConfig, Task
from shape3d_amodal.training.logging import Meter, ProgressLine, TrainingLog
from shape3d_amodal.training.settings import check_settings, flatten
from shape3d_amodal.training.signals import StopSignals
from shape3d_amodal.training.trainer import Trainer, TrainResult

__all__ = ["LoopConfig", "Task", "TrainResult", "train"]


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
        UsageError: an option is wrong or differs from the checkpoint's.
        SystemExit: 143 after SIGTERM, 130 after SIGINT; the step is finished and saved before.
    """
    with join(config.device) as ranks:
        use_threads(config.threads)
        trainer = Trainer(task, config, ranks)
        if dry_run:
            return trainer.rehearse()
        settings = {"stage": task.name, **flatten("loop", config)}
        if is_dataclass(experiment):
            parts = {field.name: getattr(experiment, field.name) for field in fields(experiment)}
            for name, part in parts.items():
                settings |= {} if isinstance(part, LoopConfig) else flatten(name, part)
        folder = CheckpointFolder(Path(output), config.keep_checkpoints)
        start = 0
        if not resume and folder.steps():
            raise UsageError(f"{output}: holds checkpoints of an earlier training; resume it or choose another folder")
        checkpoint = folder.load_latest()
        if checkpoint is not None:
            check_settings(checkpoint.settings, settings, folder.path(checkpoint.step))
            trainer.restore(checkpoint)
            start = checkpoint.step
        ranks.wait()
        if ranks.first:
            folder.clear_temporary()
        return _run(trainer, folder, settings, start, checkpoint.seconds if checkpoint else 0.0)


def _run(
    trainer: Trainer, folder: CheckpointFolder, settings: dict[str, object], start: int, seconds: float
) -> TrainResult:
    """The steps from ``start`` to the last, with everything that happens every so often between them."""
    config, ranks = trainer.config, trainer.ranks
    log = TrainingLog(folder.folder if ranks.first else None, start)
    meter = Meter(start)
    begin = time.monotonic()
    step, metrics = start, {}
    with StopSignals() as stop, ProgressLine(trainer.task.name, config.steps, start, shown=ranks.first) as line:
        while step < config.steps:
            meter.add(trainer.step(step))
            step += 1
            line.advance(step)
            elapsed = time.monotonic() - begin
            # The larger of the signal's number and 0.5 for "time is up": one decision for all ranks.
            late = 0.5 if config.max_minutes and elapsed > 60 * config.max_minutes else 0.0
            halt = ranks.maximum(max(late, float(stop.signal)))
            last = step == config.steps or halt > 0
            if last or step % config.log_every == 0:
                record = meter.record(step, config, ranks, seconds + elapsed)
                log.write(step, record)
                line.report(step, record["losses"]["total"], record["steps_per_second"])
            if halt < 1 and ranks.first:
                if last or _due(step, config.validate_every):
                    metrics = trainer.validate(step)
                    log.write(step, {"validation": metrics} if metrics else {})
                if last or _due(step, config.sample_every):
                    log.show(step, trainer.pictures(step))
            if last or _due(step, config.checkpoint_every):
                if ranks.first:
                    folder.save(trainer.checkpoint(step, settings, seconds + time.monotonic() - begin))
                ranks.wait()
            if halt:
                break
        else:
            halt = 0.0
    log.close()
    if halt >= 1:
        raise SystemExit(128 + int(halt))
    return TrainResult(step, trainer.weights(), metrics)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
