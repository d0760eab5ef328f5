"""Mask R-CNN (He et al., ICCV 2017) with amodal boxes, and amodal masks, visible masks or both.

Each kind of mask has a branch of its own; the branches share nothing but the region's features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from shape3d_amodal.config import configuration
from shape3d_amodal.segmentation.frame import (
    FrameShape,
    MaskHead,
    MaskPrediction,
    Rois,
    RoiTargets,
    SystemConfig,
)
from shape3d_amodal.segmentation.layers import MaskBranch, mask_loss, of_category


@configuration
class MaskRcnnConfig(SystemConfig):
    masks: Literal["amodal", "visible", "both"] = "amodal"
    """Which masks are learned. Without amodal masks the visible ones stand for them."""

    def mask_head(self, shape: FrameShape) -> MaskHead:
        return MaskRcnnHead(shape, ("amodal", "visible") if self.masks == "both" else (self.masks,))


class MaskRcnnHead(MaskHead):
    """A mask branch, which ``branch`` makes, for each of ``names`` (amodal, visible)."""

    def __init__(
        self, shape: FrameShape, names: tuple[str, ...], branch: Callable[[FrameShape], MaskBranch] = MaskBranch
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: branch(shape) for name in names})

    @property
    def has_visible(self) -> bool:
        return "visible" in self.branches

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        return {name: of_category(branch(rois.features), rois.category) for name, branch in self.branches.items()}

    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        return {f"mask_{name}": mask_loss(logits, getattr(targets, name)) for name, logits in self(rois).items()}

    def predict(self, rois: Rois) -> MaskPrediction:
        masks = {name: logits.sigmoid() for name, logits in self(rois).items()}
        first = next(iter(masks.values()))
        return MaskPrediction(first, masks.get("visible"))
