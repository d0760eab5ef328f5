"""A training from its configuration to its weights."""

from __future__ import annotations

import importlib
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

from torch import Tensor

from shape3d_amodal.errors import TrainingError
from shape3d_amodal.files.cache import alone
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.launcher import place_of
from shape3d_amodal.training.loop.distributed import rank_device
from shape3d_amodal.training.loop.interface import TrainingConfig
from shape3d_amodal.training.loop.trainer import TrainResult, check_norms, check_parts
from shape3d_amodal.training.loop.training import refuse_checkpoints, train


def run_training(
    config: TrainingConfig, output: Path, *, cache: Path, resume: bool = True, dry_run: bool = False
) -> TrainResult:
    """Train what ``config`` says; its weights are left in ``output/weights``.

    Args:
        config: the training.
        output: folder of checkpoints, logs and weights.
        cache: folder where training data that are made are kept between trainings.
        resume: go on from the newest checkpoint in ``output``.
        dry_run: one batch through everything, of little data made for it; nothing is written.

    Raises:
        TrainingError: a loss is not finite, or the disk is full.
        UsageError, DataError, WeightsError: an option, the data or the weights to start from cannot be used, or another
            process trains in ``output``.
        MissingBackendError: there is no such device, or tensorboard is missing.
    """
    place = place_of(os.environ)
    device = rank_device(config.loop.device, place)  # what cannot be trained on is refused before data are made for it
    check_parts(config.loop, place.count)
    check_norms(config.loop, place.count, device)
    config = config.named()  # so that a resume compares the categories themselves
    if dry_run:
        config = config.smaller()
        with tempfile.TemporaryDirectory() as temporary:
            task = config.task(Path(temporary), workers=0)
            return train(task, config.loop, output, resume=resume, dry_run=True, experiment=config)
    config.check()
    importlib.import_module("tensorboard")  # if the log cannot be written, say so before the data are made
    if not resume:
        refuse_checkpoints(output)
    with alone(output) if place.first else nullcontext():
        task = config.for_its_steps().task(cache, workers=os.cpu_count() or 1)
        result = train(task, config.loop, output, resume=resume, experiment=config)
        if place.first:
            _save(output / "weights", config, task.finish(result.weights))
    return result


def _save(folder: Path, config: TrainingConfig, weights: dict[str, Tensor]) -> None:
    try:
        save_weights(folder, config.weights_config(), weights)
    except OSError as error:
        problem = f"cannot save the weights: {error.strerror}; free some space and run the same command again"
        raise TrainingError(f"{folder}: {problem} (the checkpoint is kept)") from error
