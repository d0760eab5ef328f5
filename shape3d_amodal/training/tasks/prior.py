"""The training of stages 2 and 3: the learned prior."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.crops.augmentation import Augmentation
from shape3d_amodal.crops.doubt import doubtful
from shape3d_amodal.crops.pool import scenes_of
from shape3d_amodal.crops.sources import CropSource
from shape3d_amodal.errors import UsageError
from shape3d_amodal.geometry.windows import inside_image
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.priors.learned.criterion import PriorBatch, PriorCriterion, judged_by
from shape3d_amodal.priors.learned.ground import looking_down
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.refinement.regions import composed
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops
from shape3d_amodal.training.loop.distributed import Ranks
from shape3d_amodal.training.loop.interface import LoopConfig
from shape3d_amodal.training.tasks.crop_task import CropMaker, CropPlan, CropTask
from shape3d_amodal.training.tasks.pairs import ShapePairs, tracks
from shape3d_amodal.training.tasks.restarts import best_start
from shape3d_amodal.training.tasks.scores import VALIDATION_BATCH, batches
from shape3d_amodal.training.tasks.stage_options import StageOptions

_SCORED = 256
"""Training crops, at most, that every seed of the restarts is scored on."""


class PriorMaker(CropMaker):
    """Batches of a prior: crops, with amodal masks only where ``supervision`` says so."""

    def __init__(self, config: StageOptions, train: CropSource) -> None:
        super().__init__(config, train)
        self.pairs = None
        if config.prior_loss.pairs > 0:
            names = train.mesh if train.track is None else tracks(train.track)
            self.pairs = ShapePairs(names, self.usable.rows, "mesh" if train.track is None else "track")
        self.cameras = None
        if config.prior_loss.ground > 0:
            if train.intrinsics is None or not np.isfinite(train.intrinsics).any():
                problem = "needs annotated images whose cameras are known"
                raise UsageError(f"prior_loss.ground: {problem}; give cam_K in the annotations, or train.calibration")
            self.cameras = train.intrinsics

    def plan(self, step: int, generator: np.random.Generator, size: int) -> CropPlan:
        rows = self._rows(generator, size)
        if self.pairs is not None:
            rows = self.pairs.drawn_into(rows, self.config.pair_share, generator)
        # Not warped: no camera gives such an image.
        return CropPlan(rows, Augmentation.draw(generator, size), slips=self._slips(generator, size))

    def make(self, plan: CropPlan) -> PriorBatch:
        drawn = self.train.supervised(plan.rows)
        if self.config.labels == "amodal":
            drawn = replace(drawn, known=self._inside(drawn.crops, plan.rows))
        batch = plan.augmentation.of(drawn)
        shape = None if self.pairs is None else torch.from_numpy(self.pairs.shape[plan.rows])
        target = None
        if batch.known is not None:
            target = replace(batch.crops, visible=batch.amodal, occluder=1 - batch.known)
        elif plan.slips is not None:
            target = judged_by(self._seen(batch.crops, None), self.config.prior_loss)
        slopes = None
        if self.cameras is not None:  # upright stays upright in a mirror
            slopes = looking_down(drawn.crops.window.numpy(), self.cameras[plan.rows])
        return PriorBatch(self._seen(batch.crops, plan.slips), target, shape, slopes)

    def _inside(self, crops: InstanceCrops, rows: NDArray[np.int64]) -> Tensor:
        """The share [N,S,S] of each pixel of the training ``rows`` that lies inside the image."""
        if self.train.image_size is None:
            side = scenes_of(self.config.train).image_size
            return inside_image(crops.window, side, side, crops.size)
        width, height = torch.from_numpy(self.train.image_size[rows]).unbind(dim=1)
        return inside_image(crops.window, width, height, crops.size)


class PriorTask(CropTask):
    """Stages 2 and 3, together or one at a time; from visible masks only, unless ``supervision`` is amodal."""

    def __init__(self, config: StageOptions, model: AmodalModel, train: CropSource, validation: CropSource) -> None:
        super().__init__(config, model, train, validation)
        self.criterion = PriorCriterion(config.prior_loss, config.model.prior.reconstruction.level)
        self.maker = PriorMaker(config, train)
        model.refinement.requires_grad_(False)
        if config.stage == "reconstruction":
            model.prior.viewpoint.requires_grad_(False)
        elif config.stage == "viewpoint":
            model.prior.encoder.requires_grad_(False)
            model.prior.decoder.requires_grad_(False)

    def begin(self, config: LoopConfig, ranks: Ranks) -> None:
        if self.config.restarts.seeds > 1:
            pool = len(self.train.category)
            rows = np.linspace(0, pool - 1, min(_SCORED, pool)).astype(np.int64)
            score = partial(self.training_score, rows)
            best_start(self, self.restart, score, self.config.restarts, config, ranks)

    def restart(self, seed: int) -> None:
        """Stand where a training with this seed starts."""
        self.model.load_state_dict(self.config.start(seed).state_dict())

    def training_score(self, rows: NDArray[np.int64], progress: float) -> float:
        """Mean certain-pixel IoU, 0..1, of the selected silhouettes with the training ``rows``."""
        device = next(self.model.parameters()).device
        gate = self.criterion.gate(progress)
        ious = []
        for part in batches(rows, VALIDATION_BATCH):
            crops = doubtful(self.train.supervised(part).crops, self.config.model.doubt).to(device)
            output = self.model.prior(crops, gate)
            silhouettes = self.model.prior.silhouettes(output.mesh.verts, output.hypotheses.best(), crops.size)
            ious.append(certain_iou(silhouettes, crops))
        return float(torch.cat(ious).mean())

    def losses(self, batch: PriorBatch, step: int, progress: float) -> dict[str, Tensor]:
        if self.config.stage == "viewpoint":
            self.model.prior.encoder.eval()  # what is fixed keeps its batch statistics, too
        # A stage that starts from trained shapes has its gate open and its blur small.
        progress = 1.0 if "prior" in self.config.init else progress
        return self.criterion(
            self.model.prior, batch.crops, progress, target=batch.target, shape=batch.shape, slopes=batch.slopes
        )

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """The silhouette and, if one was trained before, the refined mask."""
        crops, found = batch.crops, super().masks(batch)
        if "refinement" not in self.config.init:
            return found
        logits = self.model.refine(crops, {"learned": self.model.prior.estimate(crops).evidence})
        return {**found, "final": composed(logits.sigmoid(), crops)}
