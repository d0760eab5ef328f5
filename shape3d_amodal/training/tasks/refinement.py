"""The training of stage 5, on top of fixed priors, on its own, or end to end with stages 2 and 3."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.crops.augmentation import Augmentation
from shape3d_amodal.crops.reocclusion import Covers, reocclude
from shape3d_amodal.crops.sources import CropSource
from shape3d_amodal.errors import UsageError
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.priors.interface import PriorName
from shape3d_amodal.priors.learned.criterion import PriorCriterion
from shape3d_amodal.refinement.criterion import refinement_losses
from shape3d_amodal.refinement.regions import composed
from shape3d_amodal.structures import SupervisedCrops
from shape3d_amodal.training.tasks.bank_crops import BankArrays
from shape3d_amodal.training.tasks.crop_task import CropMaker, CropPlan, CropTask
from shape3d_amodal.training.tasks.sampling import Rows
from shape3d_amodal.training.tasks.scores import partly_hidden
from shape3d_amodal.training.tasks.stage_options import StageOptions

_SILHOUETTES: dict[PriorName, str] = {"learned": "silhouette", "bank": "bank"}
"""What silhouettes are called in metrics and images."""


class RefinementMaker(CropMaker):
    """Batches of stage 5: crops with amodal masks, or with visible masks of which a part is hidden once more."""

    def __init__(self, config: StageOptions, train: CropSource, bank: BankArrays | None) -> None:
        super().__init__(config, train)
        self.bank = bank
        if config.labels == "amodal":  # of visible masks it is not known what they hide
            self.partly_hidden = partly_hidden(train.hidden, "train")
            self.hidden = Rows(self.partly_hidden, train.category, config.balance)
        if bank is not None:
            hidden = np.isin(bank.row, self.partly_hidden)
            self.asked_hidden, self.asked_whole = bank.row[hidden], bank.row[~hidden]

    def plan(self, step: int, generator: np.random.Generator, size: int) -> CropPlan:
        rows = self._rows(generator, size)
        covers = Covers.draw(generator, rows) if self.config.labels == "visible" else None
        augmentation = Augmentation.draw(generator, size, self.config.augmentation)
        return CropPlan(rows, augmentation, covers, self._slips(generator, size))

    def make(self, plan: CropPlan) -> SupervisedCrops:
        if plan.covers is None:
            batch = with_bank(self.train.supervised(plan.rows), self.bank, plan.rows)
        else:
            batch = self._covered(plan.rows, plan.covers)
        batch = plan.augmentation.of(batch)
        return replace(batch, crops=self._seen(batch.crops, plan.slips))

    def _covered(self, rows: NDArray[np.int64], covers: Covers) -> SupervisedCrops:
        """The crops ``rows``, hidden once more; a crop that is needed several times is read once."""
        needed, place = np.unique(np.append(rows, covers.others), return_inverse=True)
        crops = self.train.supervised(needed).crops
        own, others = place[: len(rows)], place[len(rows) :].reshape(covers.others.shape)
        return reocclude(crops[torch.from_numpy(own)], crops, replace(covers, others=others))

    def _rows(self, generator: np.random.Generator, size: int) -> NDArray[np.int64]:
        anything = super()._rows(generator, size)
        if self.config.labels == "visible":
            return anything
        hidden = self.hidden.draw(generator, size)
        if self.bank is not None:
            asked = generator.random(size) < self.config.bank_share
            hidden = np.where(asked, _picked(generator, self.asked_hidden, size), hidden)
            if len(self.asked_whole):
                anything = np.where(asked, _picked(generator, self.asked_whole, size), anything)
        return np.where(generator.random(size) < self.config.hidden_share, hidden, anything)


class RefinementTask(CropTask):
    """Stage 5 on top of fixed priors (``refinement``), or on its own (``completion2d``)."""

    def __init__(
        self,
        config: StageOptions,
        model: AmodalModel,
        train: CropSource,
        validation: CropSource,
        bank: BankArrays | None = None,
        validation_bank: BankArrays | None = None,
    ) -> None:
        super().__init__(config, model, train, validation)
        self.with_prior = config.stage == "refinement" and "learned" in config.model.refinement.priors
        if unknown := set(config.model.refinement.priors) - set(_SILHOUETTES):
            raise UsageError(f"model.refinement.priors: no training has silhouettes of {', '.join(sorted(unknown))}")
        self.maker = RefinementMaker(config, train, bank)
        self.validation_bank = validation_bank
        model.prior.requires_grad_(False)

    def losses(self, batch: SupervisedCrops, step: int, progress: float) -> dict[str, Tensor]:
        self.model.prior.eval()
        with torch.no_grad():
            shown = self._shown(batch)
        logits = self.model.refine(batch.crops, {name: self._drop(*one) for name, one in shown.items()})
        return refinement_losses(logits, batch, self.config.refinement_loss)

    def _shown(self, batch: SupervisedCrops) -> dict[PriorName, tuple[Tensor, Tensor]]:
        """Silhouettes and their fits, by the name of the prior."""
        shown: dict[PriorName, tuple[Tensor, Tensor]] = {}
        if self.with_prior:
            shown["learned"] = self.model.prior.estimate(batch.crops).evidence
        if batch.silhouette is not None and batch.fit is not None:
            shown["bank"] = (batch.silhouette, batch.fit)
        return shown

    def _validation_batch(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        return with_bank(super()._validation_batch(rows), self.validation_bank, rows)

    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """The silhouettes that the stage has, joined with what is visible, and the final mask."""
        crops, shown = batch.crops, self._shown(batch)
        joined = {_SILHOUETTES[name]: composed(one, crops) for name, (one, _) in shown.items()}
        logits = self.model.refine(crops, shown)
        return {**joined, "final": composed(logits.sigmoid(), crops)}

    def _drop(self, silhouette: Tensor, fit: Tensor) -> tuple[Tensor, Tensor]:
        keep = (torch.rand(len(fit), device=fit.device) >= self.config.silhouette_dropout).to(fit.dtype)
        return silhouette * keep[:, None, None], fit * keep


class EndToEndTask(RefinementTask):
    """Stages 2 to 5 together: the refined mask's loss reaches shape and viewpoint through the silhouette."""

    def __init__(self, config: StageOptions, model: AmodalModel, train: CropSource, validation: CropSource) -> None:
        super().__init__(config, model, train, validation)
        self.with_prior = True
        self.criterion = PriorCriterion(config.prior_loss, config.model.prior.reconstruction.level)
        model.requires_grad_(True)

    def losses(self, batch: SupervisedCrops, step: int, progress: float) -> dict[str, Tensor]:
        coarse = self.model.prior.estimate(batch.crops)
        silhouette, fit = self._drop(coarse.silhouette, coarse.fit)
        logits = self.model.refine(batch.crops, {"learned": (silhouette, fit.detach())})
        prior = self.criterion(self.model.prior, batch.crops, 1.0)
        return {**prior, **refinement_losses(logits, batch, self.config.refinement_loss)}


def with_bank(batch: SupervisedCrops, bank: BankArrays | None, rows: NDArray[np.int64]) -> SupervisedCrops:
    """``batch``, which holds the training ``rows``, with the silhouettes of the bank."""
    if bank is None:
        return batch
    silhouette, fit = bank.of(rows)
    device = batch.amodal.device
    return replace(batch, silhouette=silhouette.to(device), fit=fit.to(device))


def _picked(generator: np.random.Generator, rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return rows[generator.integers(len(rows), size=size)]
