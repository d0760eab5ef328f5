"""ARCNN and ARCNN-add (Zeng and Yin, arXiv 2107.07464): the visible and the occluded mask, stitched to the amodal one.

Both parts are predicted for every category (V and O, C masks each). ARCNN learns how they go together: its amodal mask
of category T is, by equation 1, the sum over all categories i of VW[T,i] V[i] + OW[T,i] O[i]. These weights say which
categories hide which; ``scripts/plot_stitching.py`` draws them. ARCNN-add takes V[T] + O[T] instead.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
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
class ArcnnConfig(SystemConfig):
    """There is nothing to choose."""

    def mask_head(self, shape: FrameShape) -> MaskHead:
        return ArcnnHead(shape)


@configuration
class ArcnnAddConfig(SystemConfig):
    """There is nothing to choose."""

    def mask_head(self, shape: FrameShape) -> MaskHead:
        return ArcnnAddHead(shape)


class JigsawHead(MaskHead):
    """A visible and an occluded branch; subclasses put their masks together."""

    def __init__(self, shape: FrameShape) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: MaskBranch(shape) for name in ("visible", "occluded")})

    @abstractmethod
    def stitch(self, visible: Tensor, occluded: Tensor) -> Tensor:
        """Amodal logits from those of both parts, all [R,classes,28,28]."""

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        parts = {name: branch(rois.features) for name, branch in self.branches.items()}
        masks = {"amodal": self.stitch(parts["visible"], parts["occluded"]), **parts}
        return {name: of_category(logits, rois.category) for name, logits in masks.items()}

    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        """Equation 2 of the paper without what the frame adds: equal weights."""
        return {f"mask_{name}": mask_loss(logits, getattr(targets, name)) for name, logits in self(rois).items()}

    def predict(self, rois: Rois) -> MaskPrediction:
        masks = self(rois)
        return MaskPrediction(masks["amodal"].sigmoid(), masks["visible"].sigmoid())


class ArcnnAddHead(JigsawHead):
    """The plain sum."""

    def stitch(self, visible: Tensor, occluded: Tensor) -> Tensor:
        return visible + occluded


class ArcnnHead(JigsawHead):
    """A learned sum over all categories: a 1 x 1 convolution, as the equation has no constant, without bias.

    The paper does not say where it starts; here it starts as the plain sum.
    """

    def __init__(self, shape: FrameShape) -> None:
        super().__init__(shape)
        self.stitching = nn.Conv2d(2 * shape.classes, shape.classes, 1, bias=False)
        with torch.no_grad():
            self.stitching.weight.copy_(torch.eye(shape.classes).repeat(1, 2)[:, :, None, None])

    def stitch(self, visible: Tensor, occluded: Tensor) -> Tensor:
        amodal: Tensor = self.stitching(torch.cat([visible, occluded], dim=1))
        return amodal

    def weights(self) -> tuple[Tensor, Tensor]:
        """VW and OW of equation 1, [classes,classes] each: what each category's (row) amodal mask is made of."""
        visible, occluded = self.stitching.weight.detach()[:, :, 0, 0].chunk(2, dim=1)
        return visible, occluded
