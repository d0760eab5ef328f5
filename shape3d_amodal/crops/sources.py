"""The one way from a configuration to training crops, whatever they are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shape3d_amodal.crops.annotated.cutting import AnnotatedCrops
from shape3d_amodal.crops.annotated.pool import annotated_pool_name, open_annotated_pool
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool, pool_name
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.meshes.sources import CATEGORIES

CropSource = AnnotatedCrops | CropArrays
"""N crops by their row: ``category``, ``hidden``, ``ids(rows)`` and ``supervised(rows)``. Where no amodal mask is known
(``hidden`` is NaN), the visible one is in its place."""


def open_crops(
    config: CropsConfig,
    cache: Path,
    *,
    categories: Sequence[str] | None = None,
    workers: int,
    amodal: bool = True,
) -> CropSource:
    """The crops that ``config`` names.

    Args:
        config: their source, and how they are cut.
        cache: folder where crops are kept.
        categories: names that the crops' categories count. Without them, crops of annotated images tell no category,
            and those of scenes count ``meshes.sources.CATEGORIES``.
        workers: processes that cut crops, which do not depend on it.
        amodal: whether some annotated instances must have amodal masks.

    Raises:
        DataError: the source cannot be read, or holds nothing that can be learned from.
        TrainingError: the disk is full.
    """
    if config.annotations is not None:
        if config.on_demand:
            return AnnotatedCrops(config, categories, amodal=amodal)
        return open_annotated_pool(config, cache, categories, workers=workers, amodal=amodal)
    return open_pool(config, cache, categories=CATEGORIES if categories is None else categories, workers=workers)


def crops_name(config: CropsConfig, categories: Sequence[str]) -> str:
    """Key in the cache of what is kept of these crops: a hash of all that they depend on."""
    return pool_name(config, categories) if config.annotations is None else annotated_pool_name(config, categories)
