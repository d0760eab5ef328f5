"""What all trainings that complete masks of crops share: which crops have hidden parts, and how well they are found."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from shape3d_amodal.crops.sources import CropSource
from shape3d_amodal.drawing.crop_grids import crop_grid, spread_rows
from shape3d_amodal.errors import UsageError
from shape3d_amodal.structures import SupervisedCrops
from shape3d_amodal.training.loop.interface import Task

VALIDATION_BATCH = 64
_PARTLY = 0.02
_CLEARLY = 0.1


class CompletionTask(Task):
    """A training that completes the masks of crops, with scores and images of validation crops."""

    train: CropSource
    validation: CropSource

    @abstractmethod
    def masks(self, batch: SupervisedCrops) -> dict[str, Tensor]:
        """Predicted masks by name, [N,S,S] in 0..1 each."""

    def validate(self, step: int) -> dict[str, float]:  # noqa: ARG002
        """IoU and occluded IoU of ``masks``: means in percent over the validation crops that are over 10 % hidden."""
        return mean_scores(self.over_ranks(self._ious, self._validated()))

    def _ious(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        batch = self._validation_batch(rows)
        return completion_ious(batch, self.masks(batch))

    def sample_images(self, step: int) -> dict[str, NDArray[np.uint8]]:  # noqa: ARG002
        """Validation crops: image, given masks, predicted masks (``masks``), and the true mask."""
        rows = spread_rows(self.validation.hidden)
        if not len(rows):
            return {}
        batch = self._validation_batch(rows)
        return {"samples": crop_grid(batch.crops, {**self.masks(batch), "truth": batch.amodal})}

    def _validated(self) -> list[NDArray[np.int64]]:
        """The rows that are validated on, in batches."""
        return batches(clearly_hidden(self.validation.hidden), VALIDATION_BATCH)

    def _validation_batch(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        return self.validation.supervised(rows).to(next(self.modules().parameters()).device)


def batches(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """``rows`` in batches of ``size`` or, at the end, fewer."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def partly_hidden(hidden: ArrayLike, where: str) -> NDArray[np.int64]:
    """The rows [N], rising, of crops to learn completion from: those of which more than 2 % is hidden.

    Args:
        hidden: [M], shares of the crops' objects that are hidden, in 0..1.
        where: the part of the configuration that the crops come from, for the error.

    Raises:
        UsageError: there are none.
    """
    shares = np.asarray(hidden)
    rows = np.flatnonzero(shares > _PARTLY)
    if not len(rows):
        problem = f"expected crops with a hidden part, none of {len(shares)} has one"
        remedy = "give more of them, of scenes by train.count, or learn from visible masks by supervision=visible"
        raise UsageError(f"{where}: {problem}; {remedy}")
    return rows


def with_amodal(hidden: ArrayLike) -> NDArray[np.int64]:
    """The rows [N], rising, of crops whose amodal mask is known."""
    return np.flatnonzero(np.isfinite(np.asarray(hidden)))


def clearly_hidden(hidden: ArrayLike) -> NDArray[np.int64]:
    """The rows [N], rising, of crops to validate completion with: those of which more than 10 % is hidden."""
    return np.flatnonzero(np.asarray(hidden) > _CLEARLY)


def completion_scores(results: Iterable[tuple[SupervisedCrops, Mapping[str, Tensor]]]) -> dict[str, float]:
    """IoU and occluded IoU of what was found, means in percent over all crops.

    Args:
        results: batches of N crops, and the masks [N,S,S] in 0..1 found for them, by name. Pixels that are not known
            do not count.

    Returns:
        ``NAME_iou`` and ``NAME_occluded_iou``; the latter is that of the parts outside the visible mask.
    """
    return mean_scores(completion_ious(batch, masks) for batch, masks in results)


def completion_ious(batch: SupervisedCrops, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same of one batch, crop by crop: [N] in 0..1 by name, on the CPU."""
    truth, visible = batch.amodal > 0.5, batch.crops.visible > 0.5
    known = torch.ones_like(truth) if batch.known is None else batch.known > 0.5
    truth = truth & known
    ious: dict[str, Tensor] = {}
    for name, mask in masks.items():
        found = (mask > 0.5) & known
        ious[f"{name}_iou"] = mask_iou(found, truth).cpu()
        ious[f"{name}_occluded_iou"] = mask_iou(found & ~visible, truth & ~visible).cpu()
    return ious


def mean_scores(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    """Means in percent over all crops of all batches; nothing where there are none."""
    together: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, ious in part.items():
            together.setdefault(name, []).append(ious)
    return {name: 100 * float(torch.cat(ious).mean()) for name, ious in together.items()}


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU [N] of masks [N,S,S] bool; 0 where both are empty."""
    return (a & b).sum(dim=(1, 2)) / (a | b).sum(dim=(1, 2)).clamp(min=1)
