"""What the trainings of all stages share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from shape3d_amodal.crops.sources import CropSource
from shape3d_amodal.drawing.crop_grids import crop_grid, spread_rows
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.refinement.regions import compose
from shape3d_amodal.structures import SupervisedCrops
from shape3d_amodal.training.loop.interface import Task
from shape3d_amodal.training.tasks.scores import clearly_hidden, completion_scores
from shape3d_amodal.training.tasks.stage_options import StageOptions

VALIDATION_BATCH = 64


class CropTask(Task):
    """What all stages share: drawing training crops, and scores and images of validation crops."""

    def __init__(self, config: StageOptions, model: AmodalModel, train: CropSource, validation: CropSource) -> None:
        self.name = config.stage
        self.config = config
        self.model = model
        self.train = train
        self.validation = validation

    def modules(self) -> nn.Module:
        return self.model

    def _rows(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        return generator.integers(len(self.train.category), size=size)

    def sample_images(self, step: int) -> dict[str, NDArray[np.uint8]]:
        """Validation crops: image, given masks, predicted masks (``masks``), and the true mask."""
        rows = spread_rows(self.validation.hidden)
        if not len(rows):
            return {}
        batch = self._validation_batch(rows)
        return {"samples": crop_grid(batch.crops, {**self.masks(batch), "truth": batch.amodal})}

    def validate(self, step: int) -> dict[str, float]:
        """IoU and occluded IoU of ``masks``: means in percent over the validation crops that are over 10 % hidden."""
        rows = clearly_hidden(self.validation.hidden)
        parts = (rows[start : start + VALIDATION_BATCH] for start in range(0, len(rows), VALIDATION_BATCH))
        batches = (self._validation_batch(part) for part in parts)
        return completion_scores((batch, self.masks(batch)) for batch in batches)

    def _validation_batch(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        return self.validation.supervised(rows).to(next(self.model.parameters()).device)

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """Predicted masks by name, [N,S,S] in 0..1 each: the learned silhouette joined with the visible mask."""
        crops = batch.crops
        return {"silhouette": compose(self.model.prior.estimate(crops).silhouette, crops.visible, crops.occluder)}
