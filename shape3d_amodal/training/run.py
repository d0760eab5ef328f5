"""A training from its configuration to its weights."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import WeightsError
from shape3d_amodal.refinement.stage import AmodalModel
from shape3d_amodal.training.distributed import is_first_rank
from shape3d_amodal.training.loop import TrainResult, train
from shape3d_amodal.training.pool import open_pool
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
        dry_run: one batch through everything; nothing but the crops is written.
    """
    torch.manual_seed(config.loop.seed)
    model = AmodalModel(config.model)
    for part, folder in config.init.items():
        load_part(model, part, Path(folder))
    workers = os.cpu_count() or 1
    pool = open_pool(config.pool, cache, workers=workers)
    validation = open_pool(config.validation, cache, workers=workers)
    task = build_task(config, model, pool, validation)
    result = train(task, config.loop, output, resume=resume, dry_run=dry_run, experiment=config)
    if not dry_run and is_first_rank():
        save_weights(output / "weights", dump_config(config.model), result.weights)
    return result


def load_part(model: AmodalModel, part: str, folder: Path) -> None:
    """Load one part of the model (``prior`` or ``refinement``) from weights that a stage left.

    Raises:
        WeightsError: the weights are missing, damaged, or of a model of other sizes.
    """
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
