"""Where training crops come from, and how they are cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from shape3d_amodal.annotations.images import ImageReading
from shape3d_amodal.config import Count, CropSize, Share, configuration
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
    """Annotation file of any known format; all of its images are used."""
    images: str | None = None
    """Folder that the file names in ``annotations`` are relative to."""
    size: CropSize = 64
    """Side of the crops in pixels."""
    jitter: Share = 0.06
    """Windows in scenes are shifted and scaled at random by up to this share of their side."""
    order_known: Share = 0.5
    """Share of the scenes whose depth order is used: what is known to be behind an instance cannot hide it."""
    min_visible_px: Count = 40
    """Instances with fewer visible pixels are left out."""

    def __post_init__(self) -> None:
        if self.annotations is not None and self.shards is not None:
            raise UsageError("annotations: expected annotations or shards, got both; give one of them")
        if self.images is not None and self.annotations is None:
            raise UsageError("images: expected an annotation file with them, got none; give annotations")

    @property
    def origin(self) -> str:
        """The source, for messages."""
        return self.annotations or self.shards or self.meshes

    def at_most(self, count: int) -> CropsConfig:
        """The same with no more than ``count`` scenes."""
        return replace(self, count=min(self.count, count))

    def smaller(self) -> CropsConfig:
        """As much as a dry run needs."""
        return self.at_most(16)


VALIDATION = CropsConfig(meshes="open13:val", scenes=SceneConfig(deform=0.6), seed=2, count=300)
"""Crops of other meshes than the default's."""
