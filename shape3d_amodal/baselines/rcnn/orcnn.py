"""ORCNN (Follmann et al., WACV 2019): amodal and visible masks, and the invisible ones that follow from both.

The invisible mask has no branch. Its logits are I = A - ReLU(V), with the logits A of the amodal and V of the visible
mask: evidence for the visible mask counts against the invisible one. All three masks are learned, with equal weights.
"""

from __future__ import annotations

from torch import Tensor

from shape3d_amodal.baselines.rcnn.mask_rcnn import MaskRcnnHead
from shape3d_amodal.config import configuration
from shape3d_amodal.segmentation.layers import HeadShape, mask_loss
from shape3d_amodal.segmentation.roi_heads import MaskHead, Rois, RoiTargets, SystemConfig


@configuration
class OrcnnConfig(SystemConfig):
    """ORCNN has no options."""

    def mask_head(self, shape: HeadShape) -> MaskHead:
        return OrcnnHead(shape)


class OrcnnHead(MaskRcnnHead):
    """Mask R-CNN's amodal and visible branches, and the loss that ties them."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape, ("amodal", "visible"))

    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        logits = self(rois)
        amodal, visible = logits["amodal"], logits["visible"]
        return {
            "mask_amodal": mask_loss(amodal, targets.amodal),
            "mask_visible": mask_loss(visible, targets.visible),
            "mask_invisible": mask_loss(invisible_logits(amodal, visible), targets.occluded),
        }


def invisible_logits(amodal: Tensor, visible: Tensor) -> Tensor:
    """Logits of the invisible mask from those of the amodal and of the visible one, all of one shape."""
    return amodal - visible.relu()
