"""Mask R-CNN (He et al., ICCV 2017) with amodal boxes, and amodal masks, visible masks or both.

Each kind of mask has its own branch; the branches share only the region's features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from shape3d_amodal.config import configuration
from shape3d_amodal.segmentation.layers import HeadShape, MaskBranch, of_category
from shape3d_amodal.segmentation.roi_heads import MaskHead, Rois, SystemConfig


@configuration
class MaskRcnnConfig(SystemConfig):
    masks: Literal["amodal", "visible", "both"] = "amodal"
    """Which masks are learned. Without amodal masks the visible ones take their place."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of these masks."""
        return ("amodal", "visible") if self.masks == "both" else (self.masks,)

    def mask_head(self, shape: HeadShape) -> MaskHead:
        return MaskRcnnHead(shape, self.names)


class MaskRcnnHead(MaskHead):
    """One mask branch, built by ``branch``, for each of ``names`` (amodal, visible)."""

    def __init__(
        self, shape: HeadShape, names: tuple[str, ...], branch: Callable[[HeadShape], MaskBranch] = MaskBranch
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: branch(shape) for name in names})

    @property
    def has_visible(self) -> bool:
        return "visible" in self.branches

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        return {name: of_category(branch(rois.features), rois.category) for name, branch in self.branches.items()}
