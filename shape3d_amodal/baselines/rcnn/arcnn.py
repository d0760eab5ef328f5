"""ARCNN and ARCNN-add (Zeng and Yin, arXiv 2107.07464): the visible and the occluded mask, stitched to the amodal one.

The visible masks V and the occluded masks O are predicted for every category. ARCNN learns how to combine them: by
equation 1 its amodal mask of category T is the sum over all categories i of VW[T,i] V[i] + OW[T,i] O[i]. These weights
tell which categories hide which; ``scripts/plot_stitching.py`` draws them. ARCNN-add takes V[T] + O[T] instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shape3d_amodal.baselines.rcnn.mask_rcnn import MaskRcnnHead
from shape3d_amodal.config import configuration
from shape3d_amodal.segmentation.layers import HeadShape, of_category
from shape3d_amodal.segmentation.roi_heads import MaskHead, Rois, SystemConfig


@configuration
class ArcnnConfig(SystemConfig):
    """ARCNN has no options."""

    def mask_head(self, shape: HeadShape) -> MaskHead:
        return ArcnnHead(shape)


@configuration
class ArcnnAddConfig(SystemConfig):
    """ARCNN-add has no options."""

    def mask_head(self, shape: HeadShape) -> MaskHead:
        return ArcnnAddHead(shape)


class ArcnnAddHead(MaskRcnnHead):
    """A visible and an occluded branch, whose sum is the amodal mask; all losses weigh 1 (equation 2)."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape, ("visible", "occluded"))

    def stitch(self, visible: Tensor, occluded: Tensor) -> Tensor:
        """Amodal logits from visible and occluded ones, all [R,classes,28,28]."""
        return visible + occluded

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        parts = {name: branch(rois.features) for name, branch in self.branches.items()}
        masks = {"amodal": self.stitch(**parts), **parts}
        return {name: of_category(logits, rois.category) for name, logits in masks.items()}


class ArcnnHead(ArcnnAddHead):
    """A learned sum over all categories: a 1 x 1 convolution, without bias because equation 1 has no constant.

    The paper does not give its initial values; here it starts as the plain sum.
    """

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape)
        self.stitching = nn.Conv2d(2 * shape.classes, shape.classes, 1, bias=False)
        with torch.no_grad():
            self.stitching.weight.copy_(torch.eye(shape.classes).repeat(1, 2)[:, :, None, None])

    def stitch(self, visible: Tensor, occluded: Tensor) -> Tensor:
        return self.stitching(torch.cat([visible, occluded], dim=1))

    def weights(self) -> tuple[Tensor, Tensor]:
        """VW and OW of equation 1, [classes,classes] each; a row has the weights of one category's amodal mask."""
        visible, occluded = self.stitching.weight.detach()[:, :, 0, 0].chunk(2, dim=1)
        return visible, occluded
