"""BCNet (Ke et al., CVPR 2021): two layers, one for what hides the object and one for the object itself.

Each layer predicts a mask and its boundary, and has a non-local block over all positions of the region. The occluder's
features from the first layer are added to the input of the second one.

The public code predicts visible masks; here the default is that the second layer learns amodal masks. The code's
occluders are all other instances that reach into the box; here those known to be behind are left out.
"""

from __future__ import annotations

from typing import Literal

import torch
from fvcore.nn.weight_init import c2_msra_fill
from kornia.morphology import gradient
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from shape3d_amodal.config import Weight, configuration
from shape3d_amodal.segmentation.layers import HeadShape, convs, mask_loss, of_category, predictor, upsample
from shape3d_amodal.segmentation.roi_heads import MaskHead, MaskPrediction, Rois, RoiTargets, SystemConfig


@configuration
class BcnetConfig(SystemConfig):
    masks: Literal["amodal", "visible"] = "amodal"
    """Which masks the second layer learns. Visible ones take the place of the amodal ones."""
    each_category: bool = False
    """Whether each category has its own masks; in the public code they are class-agnostic."""
    occluder_weight: Weight = 0.25
    """Weight of the occluder's mask; the object's has 1."""
    boundary_weight: Weight = 0.5
    """Weight of the object's boundary; 1 in the public code, which adds the same cross-entropy twice."""
    occluder_boundary_weight: Weight = 0.5
    """Weight of the occluder's boundary."""

    def mask_head(self, shape: HeadShape) -> MaskHead:
        return BcnetHead(shape, self)


class BcnetHead(MaskHead):
    def __init__(self, shape: HeadShape, config: BcnetConfig) -> None:
        super().__init__()
        self.config = config
        classes = shape.classes if config.each_category else 1
        self.occluder, self.occludee = Layer(shape, classes), Layer(shape, classes)
        same = shape.channels == shape.mask_channels
        self.fit = nn.Identity() if same else nn.Conv2d(shape.mask_channels, shape.channels, 1)

    @property
    def has_visible(self) -> bool:
        return self.config.masks == "visible"

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        """The object's ``mask`` and ``boundary``, and ``occluder`` and ``occluder_boundary``: logits [R,28,28]."""
        occluder = self.occluder.features(rois.features)
        own = self.occludee.features(rois.features + self.fit(occluder))
        logits = {
            "mask": self.occludee.mask(own),
            "occluder": self.occluder.mask(occluder),
            "boundary": self.occludee.boundary(own),
            "occluder_boundary": self.occluder.boundary(occluder),
        }
        return {name: of_category(one, rois.category) for name, one in logits.items()}

    def losses(self, rois: Rois, targets: RoiTargets) -> dict[str, Tensor]:
        """The occluder's losses are means over the regions that have an occluder."""
        logits, config = self(rois), self.config
        own = targets.amodal if config.masks == "amodal" else targets.visible
        behind = targets.has_occluder
        occluder = targets.occluder[behind]
        return {
            "mask": mask_loss(logits["mask"], own),
            "occluder": config.occluder_weight * mask_loss(logits["occluder"][behind], occluder),
            "boundary": config.boundary_weight * mask_loss(logits["boundary"], boundary(own)),
            "occluder_boundary": config.occluder_boundary_weight
            * mask_loss(logits["occluder_boundary"][behind], boundary(occluder)),
        }

    def predict(self, rois: Rois) -> MaskPrediction:
        mask = self(rois)["mask"].sigmoid()
        return MaskPrediction(mask, visible=mask if self.config.masks == "visible" else None)


class Layer(nn.Module):
    """Convolutions with a non-local block after the second one, then a mask and its boundary."""

    def __init__(self, shape: HeadShape, classes: int) -> None:
        super().__init__()
        width = shape.mask_channels
        self.convs = convs(shape.channels, *[width] * shape.mask_convs)
        self.relation = NonLocal(width)
        self.mask = nn.Sequential(upsample(width, width), predictor(width, classes))
        self.boundary = nn.Sequential(upsample(width, width), predictor(width, classes))

    def features(self, features: Tensor) -> Tensor:
        """[R,C,14,14] to [R,mask_channels,14,14]."""
        return self.convs[2:](self.relation(self.convs[:2](features)))


class NonLocal(nn.Module):
    """x + BN(W softmax(q kᵀ / √C) v) over all positions, with q, k and v linear in x [R,C,h,w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.output):
            c2_msra_fill(layer)
        self.norm = nn.BatchNorm2d(channels, eps=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        if not len(x):  # there are no batch statistics of an empty batch
            return x
        query, key, value = (one(x).flatten(2).transpose(1, 2) for one in (self.query, self.key, self.value))
        attended = scaled_dot_product_attention(query, key, value)  # [R,hw,C]
        return x + self.norm(self.output(attended.transpose(1, 2).unflatten(2, x.shape[2:])))


def boundary(masks: Tensor) -> Tensor:
    """The boundaries [R,28,28] of masks [R,28,28] of 0 and 1: dilated less eroded masks, so one pixel on each side.

    Pixels have four neighbours; the border of the region is no boundary.
    """
    if not len(masks):
        return masks
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], device=masks.device)
    return gradient(masks[:, None], cross)[:, 0]
