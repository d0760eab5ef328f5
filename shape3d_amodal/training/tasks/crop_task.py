"""What the trainings of all stages share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from shape3d_amodal.crops.sources import CropSource
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.refinement.regions import compose
from shape3d_amodal.structures import SupervisedCrops
from shape3d_amodal.training.tasks.scores import CompletionTask
from shape3d_amodal.training.tasks.stage_options import StageOptions


class CropTask(CompletionTask):
    """The model, its training crops and its validation crops."""

    def __init__(self, config: StageOptions, model: AmodalModel, train: CropSource, validation: CropSource) -> None:
        self.name = config.stage
        self.config, self.model = config, model
        self.train, self.validation = train, validation

    def modules(self) -> nn.Module:
        return self.model

    def _rows(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        return generator.integers(len(self.train.category), size=size)

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """The learned silhouette joined with the visible mask."""
        crops = batch.crops
        return {"silhouette": compose(self.model.prior.estimate(crops).silhouette, crops.visible, crops.occluder)}
