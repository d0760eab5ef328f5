"""ASN (Qi et al., CVPR 2019): masks are predicted with features of the box branch and of a branch for occlusion.

The box head has two towers of four convolutions: one for class and box, and one that predicts whether more than 5 % of
the object is hidden (cross-entropy, in which such objects weigh 8 times as much). Multi-Level Coding, MLC(a, b), takes
the features of both towers after their a-th convolution and combines them with the features of a mask branch after its
b-th one. Amodal and visible masks have their own branch and coding. At inference the towers run a second time, on the
refined boxes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shape3d_amodal.baselines.rcnn.panet import ConvTower, PanetConfig
from shape3d_amodal.config import configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.layers import HeadShape, MaskBranch, conv, convs, of_category, upsample
from shape3d_amodal.segmentation.roi_heads import BoxHead, BoxOutput, MaskHead, Rois, SystemConfig

Variant = Literal["paper", "code"]


@configuration
class AsnConfig(SystemConfig):
    base: Literal["mask_rcnn", "panet"] = "mask_rcnn"
    """The system that ASN extends."""
    extract: Annotated[int, Field(ge=0, le=4)] = 1
    """a of MLC(a, b): convolutions of the box head before its features are taken."""
    fuse: Annotated[int, Field(ge=0)] = 1
    """b of MLC(a, b): convolutions of a mask branch before these features are combined with its own."""
    coding: Variant = "paper"
    """Whether the layers of the coding are those of the paper's text or of the authors' code."""
    min_hidden: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Hidden share of an object above which it counts as occluded."""
    occluded_weight: Annotated[float, Field(gt=0)] = 8.0
    """Weight of occluded regions in the loss of the occlusion branch; the others weigh 1."""

    def mask_head(self, shape: HeadShape) -> MaskHead:
        branches = {name: self._mask_branch(shape) for name in ("amodal", "visible")}
        first = 0 if self.base == "mask_rcnn" else 1  # PANet's first layer fuses the levels
        last = len(branches["amodal"].convs)
        for name, place, most in (("extract", self.extract, 4), ("fuse", self.fuse, last)):
            if not first <= place <= most:
                raise UsageError(f"options.{name}: expected {first} to {most} on {self.base}, got {place}")
        local = shape.channels if self.fuse == 0 else shape.mask_channels
        codings = {name: Coding(shape.channels, local, self.coding) for name in branches}
        return AsnHead(branches, codings, self.fuse)

    def box_head(self, shape: HeadShape) -> BoxHead:
        towers = (self._tower(shape), self._tower(shape))
        return AsnBoxHead(*towers, shape.box_width, self)

    def neck(self, shape: HeadShape) -> nn.Module:
        return super().neck(shape) if self.base == "mask_rcnn" else PanetConfig().neck(shape)

    def pooler(self, size: int) -> nn.Module:
        return super().pooler(size) if self.base == "mask_rcnn" else PanetConfig().pooler(size)

    def _tower(self, shape: HeadShape) -> ConvTower:
        if self.base == "panet":
            return PanetConfig().tower(shape)
        return ConvTower(shape, conv(shape.channels, shape.channels))

    def _mask_branch(self, shape: HeadShape) -> MaskBranch:
        return MaskBranch(shape) if self.base == "mask_rcnn" else PanetConfig().mask_branch(shape)


class AsnBoxHead(BoxHead):
    """One tower for class and box, and one for occlusion; the features of both go to the mask head."""

    def __init__(self, category: ConvTower, occlusion: ConvTower, width: int, config: AsnConfig) -> None:
        super().__init__()
        self.category, self.occlusion, self.config = category, occlusion, config
        self.occluded = nn.Linear(width, 2)
        nn.init.normal_(self.occluded.weight, std=0.01)
        nn.init.zeros_(self.occluded.bias)

    def forward(self, features: Tensor) -> BoxOutput:
        """Maps: ``category`` and ``occlusion`` [R,C,7,7], and ``occluded`` [R,2], the logits of no and yes."""
        vector, category = self.category(features)
        hint, occlusion = self.occlusion(features)
        place = self.config.extract
        maps = {"category": category[place], "occlusion": occlusion[place], "occluded": self.occluded(hint)}
        return BoxOutput(vector, maps)

    def losses(self, output: BoxOutput, hidden: Tensor) -> dict[str, Tensor]:
        logits, config = output.maps["occluded"].float(), self.config
        return {"occlusion": occlusion_loss(logits, hidden > config.min_hidden, config.occluded_weight)}


def occlusion_loss(logits: Tensor, occluded: Tensor, weight: float) -> Tensor:
    """Weighted mean cross-entropy of logits [R,2] of no and yes with ``occluded`` [R] bool; zero where R is 0.

    Occluded regions have ``weight``, the others 1.
    """
    if not len(logits):
        return logits.sum() * 0
    return cross_entropy(logits, occluded.long(), weight=logits.new_tensor([1.0, weight]))


class Coding(nn.Module):
    """Multi-Level Coding: combines features of the box head with those of a mask branch.

    The paper extracts by an upsampling of 3 x 3 and two convolutions, and combines by three convolutions, the last of
    which halves the channels (its table 7, though, calls one and three convolutions the exceptions). The authors' code
    has a convolution, an upsampling of 2 x 2 and a convolution, and then two convolutions, the first of which halves.

    Args:
        channels: of each of the box head's two features.
        local: channels of the mask branch's features.
    """

    def __init__(self, channels: int, local: int, variant: Variant) -> None:
        super().__init__()
        both = channels + local
        if variant == "paper":
            up = upsample(2 * channels, channels, size=3)
            self.extract = nn.Sequential(up, *convs(channels, channels, channels))
            self.combine = convs(both, both, both, local)
        else:
            self.extract = nn.Sequential(
                conv(2 * channels, channels), upsample(channels, channels), conv(channels, channels)
            )
            self.combine = convs(both, local, local)

    def forward(self, known: Tensor, features: Tensor) -> Tensor:
        """Box features ``known`` [R,2*channels,7,7] and mask ``features`` [R,local,14,14] to new mask features."""
        return self.combine(torch.cat([self.extract(known), features], dim=1))


class AsnHead(MaskHead):
    """Mask branches, each with a coding after its first ``fuse`` convolutions."""

    needs_box = True

    def __init__(self, branches: dict[str, MaskBranch], codings: dict[str, Coding], fuse: int) -> None:
        super().__init__()
        self.branches, self.codings, self.fuse = nn.ModuleDict(branches), nn.ModuleDict(codings), fuse

    def forward(self, rois: Rois) -> dict[str, Tensor]:
        assert rois.box is not None, "needs_box"
        known = torch.cat([rois.box.maps["category"], rois.box.maps["occlusion"]], dim=1)
        return {name: of_category(self._masks(name, known, rois.features), rois.category) for name in self.branches}

    def _masks(self, name: str, known: Tensor, features: Tensor) -> Tensor:
        branch, coding = self.branches[name], self.codings[name]
        assert isinstance(branch, MaskBranch)
        features = coding(known, branch.convs[: self.fuse](features))
        return branch.logits(branch.convs[self.fuse :](features))
