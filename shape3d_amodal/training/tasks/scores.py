"""Which crops have hidden parts, and how well those are found: for all trainings that complete masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from shape3d_amodal.errors import UsageError
from shape3d_amodal.structures import SupervisedCrops

_PARTLY = 0.02
_CLEARLY = 0.1


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
        problem = f"expected crops with a hidden part, none of {len(shares)} has one; make more, with train.count"
        raise UsageError(f"{where}: {problem}")
    return rows


def clearly_hidden(hidden: ArrayLike) -> NDArray[np.int64]:
    """The rows [N], rising, of crops to validate completion with: those of which more than 10 % is hidden."""
    return np.flatnonzero(np.asarray(hidden) > _CLEARLY)


def completion_scores(results: Iterable[tuple[SupervisedCrops, Mapping[str, Tensor]]]) -> dict[str, float]:
    """IoU and occluded IoU of what was found, means in percent over all crops.

    Args:
        results: batches of N crops, and the masks [N,S,S] in 0..1 found for them, by name.

    Returns:
        ``NAME_iou`` and ``NAME_occluded_iou``; the latter is that of the parts outside the visible mask.
    """
    parts: dict[str, list[Tensor]] = {}
    for batch, masks in results:
        truth, visible = batch.amodal > 0.5, batch.crops.visible > 0.5
        for name, mask in masks.items():
            found = mask > 0.5
            parts.setdefault(f"{name}_iou", []).append(mask_iou(found, truth))
            parts.setdefault(f"{name}_occluded_iou", []).append(mask_iou(found & ~visible, truth & ~visible))
    return {name: 100 * float(torch.cat(one).mean()) for name, one in parts.items()}


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU [N] of masks [N,S,S] bool; 0 where both are empty."""
    return (a & b).sum(dim=(1, 2)) / (a | b).sum(dim=(1, 2)).clamp(min=1)
