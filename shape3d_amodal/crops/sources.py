"""The one way from a configuration to training crops, whatever they are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shape3d_amodal.crops.annotated import AnnotatedCrops
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.meshes.sources import CATEGORIES

CropSource = AnnotatedCrops | CropArrays
"""N crops with amodal masks, by their row: ``category``, ``hidden``, ``ids(rows)`` and ``supervised(rows)``."""


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
