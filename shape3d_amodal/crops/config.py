"""Where training crops come from, and how they are cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal.annotations.images import ImageReading
from shape3d_amodal.config import Count, CropSize, Share, configuration
from shape3d_amodal.crops.cutting import Border
from shape3d_amodal.errors import UsageError
from shape3d_amodal.scenes.compose import SceneConfig


@configuration
class CropsConfig(ImageReading):
    """Crops of one of three sources: scenes that are made of meshes (the default), scenes in ``shards``, or annotated
    images (``annotations`` and ``images``)."""

    meshes: str = "open13:train"
    """Mesh source: open13[:SPLIT], shapenet13:FOLDER[:SPLIT], a folder of meshes by category, or a checked list."""
    scenes: SceneConfig = SceneConfig(deform=0.6)
    """How scenes are made of meshes."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the scenes."""
    count: Count = 30_000
    """Number of scenes; each gives one to four crops."""
    shards: str | None = None
    """Folder of shards that `shape3d-amodal scenes` has made; the first ``count`` scenes are used."""
    annotations: str | None = None
    """Annotation file of any known format."""
    images: str | None = None
    """Folder that the file names in ``annotations`` are relative to."""
    calibration: str | None = None
    """Folder of KITTI's calibration files (calib), by whose NNNNNN.txt the camera of the image NNNNNN.png is known."""
    most_images: Count | None = None
    """Of the annotated images that show something to learn from, the first so many are used; null for all."""
    on_demand: bool = False
    """Whether crops of annotated images are cut whenever they are asked for, in place of once for all trainings: for
    large crops, of which a whole set does not fit on the disk."""
    size: CropSize = 64
    """Side of the crops in pixels."""
    jitter: Share = 0.06
    """Windows in scenes are shifted and scaled at random by up to this share of their side."""
    order_known: Share = 0.5
    """Share of the scenes, or images, whose depth order is used, where it is known: what is behind an instance cannot
    hide it."""
    border: Border = "unknown"
    """What lies beyond the border of an image: unknown (it may hide a part of an object) or background. It must be that
    of the model."""
    min_visible_px: Count = 40
    """Instances with fewer visible pixels are left out."""
    min_side_px: Annotated[int, Field(ge=0)] = 0
    """Instances are left out if both sides of the box around what is visible of them have fewer pixels."""

    def __post_init__(self) -> None:
        if self.annotations is not None and self.shards is not None:
            raise UsageError("annotations: expected annotations or shards, got both; give one of them")
        if self.calibration is not None and self.annotations is None:
            raise UsageError("calibration: expected an annotation file with it, got none; give annotations")
        if self.images is not None and self.annotations is None:
            raise UsageError("images: expected an annotation file with them, got none; give annotations")

    @property
    def origin(self) -> str:
        """The source, for messages."""
        return self.annotations or self.shards or self.meshes

    def is_large(self, visible: NDArray[np.bool_]) -> bool:
        """Whether enough of an instance is visible: its mask is [H,W] bool."""
        if visible.sum() < self.min_visible_px:
            return False
        sides = [np.ptp(np.flatnonzero(visible.any(axis=axis))) + 1 for axis in (0, 1)]
        return bool(max(sides) >= self.min_side_px)

    def at_most(self, count: int) -> CropsConfig:
        """The same with no more than ``count`` scenes or images."""
        if self.annotations is not None:
            return replace(self, most_images=min(self.most_images or count, count))
        return replace(self, count=min(self.count, count))

    def smaller(self) -> CropsConfig:
        """As much as a dry run needs."""
        return self.at_most(16) if self.annotations is None else replace(self.at_most(64), on_demand=True)


VALIDATION = CropsConfig(meshes="open13:val", scenes=SceneConfig(deform=0.6), seed=2, count=300)
"""Crops of other meshes than the default's."""
