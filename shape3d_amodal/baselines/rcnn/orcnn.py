"""ORCNN (Follmann et al., WACV 2019): amodal and visible masks, and the invisible ones that follow from both.

The invisible mask has no branch of its own. Its logits are those of the amodal mask minus the positive part of the
visible ones, I = A - ReLU(V): where nothing is visible they are the amodal mask's, and evidence for the visible mask
counts against them. All three masks are learned, with equal weights.
"""

from __future__ import annotations

from torch import Tensor

from shape3d_amodal.baselines.rcnn.mask_rcnn import MaskRcnnHead
from shape3d_amodal.config import configuration
from shape3d_amodal.segmentation.frame import FrameShape, MaskHead, Rois, RoiTargets, SystemConfig
from shape3d_amodal.segmentation.layers import mask_loss


@configuration
class OrcnnConfig(SystemConfig):
    """There is nothing to choose."""

    def mask_head(self, shape: FrameShape) -> MaskHead:
        return OrcnnHead(shape)


class OrcnnHead(MaskRcnnHead):
    """Mask R-CNN's amodal and visible branches, and the loss that ties them."""

    def __init__(self, shape: FrameShape) -> None:
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
    """Logits of the hidden part from those of the whole object and of its visible part, all of one shape."""
    return amodal - visible.relu()
