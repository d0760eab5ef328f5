"""The one way from a configuration to training crops, whatever they are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.crops.annotated import AnnotatedCrops
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.meshes.sources import CATEGORIES
from shape3d_amodal.structures import SupervisedCrops


class CropSource(Protocol):
    """N crops with amodal masks, by their row."""

    @property
    def hidden(self) -> NDArray[np.float32]:
        """[N] hidden share of each amodal area, in 0..1."""

    @property
    def category(self) -> NDArray[np.int64]:
        """[N] index into the names that the source was opened with."""

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """What to call some rows in messages."""

    def supervised(self, rows: NDArray[np.int64]) -> SupervisedCrops:
        """Some rows as tensors."""


def open_crops(
    config: CropsConfig, cache: Path, *, categories: Sequence[str] | None = None, workers: int
) -> CropSource:
    """The crops that ``config`` names.

    Args:
        config: their source, and how they are cut.
        cache: folder where crops of scenes are kept; those of annotated images are cut when they are asked for.
        categories: names that the crops' categories count. Without them, crops of annotated images tell no category,
            and those of scenes count ``meshes.sources.CATEGORIES``.
        workers: processes that make scenes; the crops do not depend on it.

    Raises:
        DataError: the source cannot be read, or holds nothing that can be learned from.
        TrainingError: the disk is full.
    """
    if config.annotations is not None:
        return AnnotatedCrops(config, categories)
    return open_pool(config, cache, categories=CATEGORIES if categories is None else categories, workers=workers)
