"""The trainings of the stages 2, 3 and 5, apart or together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shape3d_amodal.config import configuration, options_of
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.crops.sources import CropSource, open_crops
from shape3d_amodal.errors import UsageError
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.training.tasks.bank_crops import BankArrays, open_bank
from shape3d_amodal.training.tasks.crop_task import CropTask
from shape3d_amodal.training.tasks.prior import PriorTask
from shape3d_amodal.training.tasks.refinement import EndToEndTask, RefinementTask
from shape3d_amodal.training.tasks.stage_options import StageOptions
from shape3d_amodal.training.tasks.trials import try_out


@configuration
class StageConfig(StageOptions):
    """The training of a stage, or of several together."""

    def task(self, cache: Path, *, workers: int) -> CropTask:
        if self.annotated_categories:
            return self.named().task(cache, workers=workers)
        self.check_options()
        try_out(self, _pass_through, ("model", "train", "prior_loss", "refinement_loss", "augmentation"))
        model = self.start(self.loop.seed)
        opened = []
        for name, amodal in (("train", self.labels == "amodal"), ("validation", False)):
            config = getattr(self, name)
            with options_of(name, config):
                opened.append(
                    open_crops(config, cache, categories=self.model.categories, workers=workers, amodal=amodal)
                )
        train, validation = opened
        banks: list[BankArrays] = []
        if self.bank is not None:
            for config, crops in ((self.train, train), (self.validation, validation)):
                if not isinstance(crops, CropArrays):
                    raise UsageError("bank: needs crops that are kept; set on_demand of train and validation to false")
                banks.append(
                    open_bank(self.bank, config, crops, cache, categories=self.model.categories, workers=workers)
                )
        return build_task(self, model, train, validation, *banks)


def _pass_through(config: StageConfig) -> None:
    """One step and one validation on crops that show two rectangles."""
    size, count = config.train.size, 4
    masks = np.zeros((3, count, size, size), np.uint8)
    third = max(size // 3, 1)
    masks[:, :, third : 2 * third, third : 2 * third] = 255
    masks[1, :, third : 2 * third, 2 * third :] = 255  # the occluder
    masks[2, :, third : 2 * third, 2 * third :] = 255  # and what it hides
    masks[1, :, third : 2 * third, : 2 * third] = 0
    crops = CropArrays(
        rgb=np.full((count, 3, size, size), 128, np.uint8),
        visible=masks[0],
        occluder=masks[1],
        amodal=masks[2],
        category=np.arange(count) % len(config.model.categories),
        window=np.tile(np.array([0, 0, size, size], np.float32), (count, 1)),
        hidden=np.full(count, 0.5, np.float32),
        scene=np.arange(count),
        mesh=np.array(["a", "a", "b", "b"]),
    )
    if config.train.annotations is not None:
        crops = replace(
            crops,
            image_size=np.full((count, 2), size),
            intrinsics=np.full((count, 4), float(size)),
            track=np.array([1, 1, 2, 2]),
        )
    bank = BankArrays(np.arange(count), masks[2], np.full(count, 0.5, np.float32))
    annotated = config.train.annotations is not None or config.train.shards is not None
    plain = replace(config, train=CropsConfig(size=size)) if annotated else config
    with torch.no_grad():
        model = AmodalModel(config.model)
        task = build_task(plain, model, crops, crops, *([] if config.bank is None else [bank, bank]))
        batch, _ = task.batch(0, np.random.default_rng(0), 2)
        model.train()
        task.losses(batch, 0, 0.5)
        model.eval()
        task.validate(1)


def build_task(
    config: StageOptions, model: AmodalModel, train: CropSource, validation: CropSource, *banks: BankArrays
) -> CropTask:
    """The task of ``config.stage``; ``banks`` are the silhouettes of a bank for ``train`` and ``validation``."""
    if config.stage in ("completion2d", "refinement"):
        return RefinementTask(config, model, train, validation, *banks)
    kind = EndToEndTask if config.stage == "end_to_end" else PriorTask
    return kind(config, model, train, validation)
