"""A training from its configuration to its weights."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from shape3d_amodal.config import dump_config
from shape3d_amodal.data.meshes import CATEGORIES
from shape3d_amodal.errors import TrainingError, UsageError, WeightsError
from shape3d_amodal.refinement.stage import AmodalModel
from shape3d_amodal.training.distributed import is_first_rank
from shape3d_amodal.training.loop import TrainResult, train
from shape3d_amodal.training.pool import PoolConfig, open_pool
from shape3d_amodal.training.tasks import StageConfig, build_task
from shape3d_amodal.weights import load_weights, save_weights


def run_stage(
    config: StageConfig, output: Path, *, cache: Path, resume: bool = True, dry_run: bool = False
) -> TrainResult:
    """Train one stage; its weights (all parts of the model) are left in ``output/weights``.

    Args:
        config: the stage.
        output: folder of checkpoints, logs and weights.
        cache: folder where training crops are kept between trainings.
        resume: go on from the newest checkpoint in ``output``.
        dry_run: one batch through everything, of a few scenes made for it; nothing is written.

    Raises:
        UsageError: the model's categories are not those of the training crops.
    """
    if config.model.categories != CATEGORIES:
        raise UsageError(
            f"model.categories: expected the categories of the crops in their order: {', '.join(CATEGORIES)}"
        )
    if dry_run:
        config = replace(config, pool=_small(config.pool), validation=_small(config.validation))
        with tempfile.TemporaryDirectory() as temporary:
            return _run(config, output, Path(temporary), resume=resume, dry_run=True, workers=0)
    result = _run(config, output, cache, resume=resume, dry_run=False, workers=os.cpu_count() or 1)
    if is_first_rank():
        _save(output / "weights", config, result)
    return result


def _save(folder: Path, config: StageConfig, result: TrainResult) -> None:
    try:
        save_weights(folder, dump_config(config.model), result.weights)
    except OSError as error:
        problem = f"{folder}: cannot save the weights: {error.strerror}; free some space and run the same command again"
        raise TrainingError(f"{problem} (the checkpoint is kept)") from error


def _small(pool: PoolConfig) -> PoolConfig:
    return replace(pool, scenes=min(pool.scenes, 16))


def _run(config: StageConfig, output: Path, cache: Path, *, resume: bool, dry_run: bool, workers: int) -> TrainResult:
    torch.manual_seed(config.loop.seed)
    model = AmodalModel(config.model)
    for part, folder in config.init.items():
        load_part(model, part, Path(folder))
    pool = open_pool(config.pool, cache, workers=workers)
    validation = open_pool(config.validation, cache, workers=workers)
    task = build_task(config, model, pool, validation)
    return train(task, config.loop, output, resume=resume, dry_run=dry_run, experiment=config)


def load_part(model: AmodalModel, part: str, folder: Path) -> None:
    """Load one part of the model (``prior`` or ``refinement``) from weights that a stage left.

    Raises:
        WeightsError: the weights are missing, damaged, or of a model of other sizes.
    """
    if not folder.is_dir():
        problem = f"no such folder of weights; train that stage first, or set init.{part}=assets/checkpoints/open13"
        raise WeightsError(problem, file=folder)
    _, state = load_weights(folder)
    own = getattr(model, part)
    found = {name.removeprefix(f"{part}."): tensor for name, tensor in state.items() if name.startswith(f"{part}.")}
    wrong = [
        name for name, tensor in own.state_dict().items() if name not in found or found[name].shape != tensor.shape
    ]
    if wrong:
        problem = f"{part}.{wrong[0]} is missing or has another shape; use the model that these weights were made with"
        raise WeightsError(problem, file=folder)
    own.load_state_dict({name: found[name] for name in own.state_dict()})
