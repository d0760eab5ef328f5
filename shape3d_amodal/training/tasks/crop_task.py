"""What the trainings of all stages share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from shape3d_amodal.crops.augmentation import Augmentation
from shape3d_amodal.crops.doubt import doubtful
from shape3d_amodal.crops.reocclusion import Covers
from shape3d_amodal.crops.slips import Slips
from shape3d_amodal.crops.sources import CropSource
from shape3d_amodal.drawing.crop_grids import crop_grid
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.refinement.regions import composed
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops, TensorBatch
from shape3d_amodal.training.loop.interface import BatchMaker
from shape3d_amodal.training.tasks.hidden_again import hidden_again, hidden_batch, hidden_batches, spread
from shape3d_amodal.training.tasks.sampling import Rows
from shape3d_amodal.training.tasks.scores import (
    VALIDATION_BATCH,
    CompletionTask,
    batches,
    completion_ious,
    mean_scores,
    with_amodal,
)
from shape3d_amodal.training.tasks.stage_options import StageOptions

_SHOWN = 8
"""Crops in the sample images, at most."""


@dataclass(frozen=True, eq=False, repr=False)
class CropPlan(TensorBatch):
    """What N training samples are made of.

    Attributes:
        rows: [N] int64, rows of the source of crops.
        augmentation: how they are changed.
        covers: what they are covered with; None where they are not.
        slips: how sloppy their visible masks are; None where they are not.
    """

    rows: NDArray[np.int64]
    augmentation: Augmentation
    covers: Covers | None = None
    slips: Slips | None = None


class CropMaker(BatchMaker):
    """Batches of training crops."""

    def __init__(self, config: StageOptions, train: CropSource) -> None:
        self.config, self.train = config, train
        usable = with_amodal(train.hidden) if config.labels == "amodal" else np.arange(len(train.category))
        self.usable = Rows(usable, train.category, config.balance)

    def ids(self, plan: CropPlan) -> list[str]:
        return self.train.ids(plan.rows)

    def _rows(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        return self.usable.draw(generator, size)

    def _slips(self, generator: np.random.Generator, size: int) -> Slips | None:
        return Slips.draw(generator, size, self.config.augmentation.sloppy, self.config.augmentation.sloppy_px)

    def _seen(self, crops: InstanceCrops, slips: Slips | None) -> InstanceCrops:
        """The crops as the networks see them: with sloppy masks, and with doubt."""
        return doubtful(crops if slips is None else slips.of(crops), self.config.model.doubt)


class CropTask(CompletionTask):
    """The model, its training crops and its validation crops."""

    with_prior = True
    """Whether the learned prior is asked."""

    def __init__(self, config: StageOptions, model: AmodalModel, train: CropSource, validation: CropSource) -> None:
        self.name = config.stage
        self.config, self.model = config, model
        self.train, self.validation = train, validation

    def modules(self) -> nn.Module:
        return self.model

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """The learned silhouette joined with the visible mask."""
        crops = batch.crops
        return {"silhouette": composed(self.model.prior.estimate(crops).silhouette, crops)}

    def validate(self, step: int) -> dict[str, float]:
        """As for all completions; where no amodal mask of the validation crops is known, of crops that are hidden once
        more (``rehidden``), and how well the silhouettes explain what is certain."""
        if len(with_amodal(self.validation.hidden)):
            return super().validate(step)
        scores = mean_scores(self.over_ranks(self._rehidden_ious, range(hidden_batches(self.validation))))
        found = {f"rehidden_{name}": value for name, value in scores.items()}
        if self.with_prior:
            rows = batches(spread(len(self.validation.hidden)), VALIDATION_BATCH)
            found |= mean_scores(self.over_ranks(self._fits, rows))
        return found

    def _rehidden_ious(self, number: int) -> dict[str, Tensor]:
        """Those of a batch that is hidden once more; none where it is empty."""
        batch = self._on_device(hidden_batch(self.validation, number))
        return completion_ious(batch, self.masks(batch)) if len(batch.amodal) else {}

    def _fits(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        return {"certain_iou": self.model.prior.estimate(self._validation_batch(rows).crops).fit.cpu()}

    def sample_images(self, step: int) -> dict[str, NDArray[np.uint8]]:
        if len(with_amodal(self.validation.hidden)):
            return super().sample_images(step)
        for batch in hidden_again(self.validation):
            shown = self._on_device(batch[:_SHOWN])
            return {"samples": crop_grid(shown.crops, {**self.masks(shown), "truth": shown.amodal})}
        return {}

    def _validation_batch(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        return self._doubtful(super()._validation_batch(rows))

    def _on_device(self, batch: SupervisedCrops) -> SupervisedCrops:
        return self._doubtful(batch.to(next(self.model.parameters()).device))

    def _doubtful(self, batch: SupervisedCrops) -> SupervisedCrops:
        return replace(batch, crops=doubtful(batch.crops, self.config.model.doubt))
