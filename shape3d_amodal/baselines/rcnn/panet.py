"""PANet (Liu et al., CVPR 2018): a second, bottom-up path through the pyramid, and features of all levels per region.

Bottom-up path augmentation: from the finest level up, N2 = P2 and N[i+1] = conv(P[i+1] + conv(N[i] at stride 2)).
Adaptive feature pooling: a region is cut out of every level; each cut has its own first layer, then the cuts are fused
by their maximum. Fully-connected fusion: a class-agnostic mask, predicted by a fully connected layer from the whole
region, is added to the masks of all categories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from detectron2.structures import Boxes
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from torchvision.ops import roi_align

from shape3d_amodal.baselines.rcnn.mask_rcnn import MaskRcnnConfig, MaskRcnnHead
from shape3d_amodal.config import configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.config import LEVELS, ROI_LEVELS, STRIDES
from shape3d_amodal.segmentation.layers import HeadShape, MaskBranch, conv
from shape3d_amodal.segmentation.roi_heads import BOX_SIZE, MASK_SIZE, ROI_SIZE, BoxHead, BoxOutput, MaskHead

Fusion = Literal["max", "sum"]


@configuration
class PanetConfig(MaskRcnnConfig):
    """The defaults are the paper's; the authors' code has group norm and a ReLU on the fully connected mask."""

    fusion: Fusion = "max"
    """How the cuts of a region are fused after their first layer."""
    heavy_head: bool = True
    """Predict class and box after four convolutions and a fully connected layer, in place of two of the latter."""
    group_norm: bool = False
    """Group norm in all convolutions that PANet adds or changes."""
    relu_on_full: bool = False
    """ReLU on the fully connected mask, so that it can only increase the logits."""

    def mask_head(self, shape: HeadShape) -> MaskHead:
        return MaskRcnnHead(shape, self.names, self.mask_branch)

    def box_head(self, shape: HeadShape) -> BoxHead:
        return PanetBoxHead(self.tower(shape) if self.heavy_head else TwoLayers(shape, self.fusion))

    def neck(self, shape: HeadShape) -> nn.Module:
        return BottomUpPath(shape.channels, group_norm=self.group_norm)

    def pooler(self, size: int) -> nn.Module:
        return AllLevelsPooler(size)

    def tower(self, shape: HeadShape) -> ConvTower:
        """Convolutions on the cuts of regions."""
        return ConvTower(shape, self._first(shape.channels, shape.channels), group_norm=self.group_norm)

    def mask_branch(self, shape: HeadShape) -> PanetBranch:
        """A mask branch on the cuts of regions."""
        first = self._first(shape.channels, shape.mask_channels)
        return PanetBranch(shape, first, group_norm=self.group_norm, relu_on_full=self.relu_on_full)

    def _first(self, inputs: int, outputs: int) -> LevelFusion:
        return LevelFusion((conv(inputs, outputs, group_norm=self.group_norm) for _ in ROI_LEVELS), self.fusion)


class BottomUpPath(nn.Module):
    """The pyramid's levels by name, [B,C,h,w] each, to new ones of the same names and sizes."""

    def __init__(self, channels: int, *, group_norm: bool) -> None:
        super().__init__()
        steps = range(len(ROI_LEVELS) - 1)
        self.down = nn.ModuleList(conv(channels, channels, stride=2, group_norm=group_norm) for _ in steps)
        self.fuse = nn.ModuleList(conv(channels, channels, group_norm=group_norm) for _ in steps)

    def forward(self, levels: dict[str, Tensor]) -> dict[str, Tensor]:
        path = {ROI_LEVELS[0]: levels[ROI_LEVELS[0]]}
        for (below, above), down, fuse in zip(pairwise(ROI_LEVELS), self.down, self.fuse, strict=True):
            path[above] = fuse(levels[above] + down(path[below]))
        path[LEVELS[-1]] = max_pool2d(path[ROI_LEVELS[-1]], 1, stride=2)
        return path


class AllLevelsPooler(nn.Module):
    """RoIAlign of every region from every level: p2 to p5 and one ``Boxes`` an image to [R,4,C,size,size]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, levels: Sequence[Tensor], boxes: Sequence[Boxes]) -> Tensor:
        rois = [one.tensor for one in boxes]
        scales = [1 / STRIDES[name] for name in ROI_LEVELS]
        # Four samples per cell: the adaptive number of the other systems grows with a region's size on fine levels.
        cuts = [
            roi_align(level, rois, self.size, scale, sampling_ratio=2, aligned=True)
            for level, scale in zip(levels, scales, strict=True)
        ]
        return torch.stack(cuts, dim=1)


class LevelFusion(nn.Module):
    """One layer for each level, then the maximum or the sum of all: [R,4,...] to [R,...]."""

    def __init__(self, layers: Iterable[nn.Module], fusion: Fusion) -> None:
        super().__init__()
        self.layers, self.fusion = nn.ModuleList(layers), fusion

    def forward(self, cuts: Tensor) -> Tensor:
        each = torch.stack([layer(cuts[:, i]) for i, layer in enumerate(self.layers)], dim=1)
        return each.amax(dim=1) if self.fusion == "max" else each.sum(dim=1)


class ConvTower(nn.Module):
    """Four convolutions, the first of which is given, and a fully connected layer."""

    def __init__(self, shape: HeadShape, first: nn.Module, *, group_norm: bool = False) -> None:
        super().__init__()
        width = shape.channels
        self.convs = nn.ModuleList([first, *(conv(width, width, group_norm=group_norm) for _ in range(3))])
        self.fc = _linear(width * BOX_SIZE**2, shape.box_width)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The vector [R,box_width], and ``features`` before and after each convolution, [R,C,7,7] from the first on."""
        maps = [features]
        for layer in self.convs:
            maps.append(layer(maps[-1]))
        return self.fc(maps[-1].flatten(1)).relu(), maps


class TwoLayers(nn.Module):
    """Two fully connected layers, with the results of a ``ConvTower`` that has no maps."""

    def __init__(self, shape: HeadShape, fusion: Fusion) -> None:
        super().__init__()
        inputs, width = shape.channels * BOX_SIZE**2, shape.box_width
        self.fc1 = LevelFusion(
            (nn.Sequential(nn.Flatten(), _linear(inputs, width), nn.ReLU()) for _ in ROI_LEVELS), fusion
        )
        self.fc2 = _linear(width, width)

    def forward(self, cuts: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.fc2(self.fc1(cuts)).relu(), []


class PanetBoxHead(BoxHead):
    """The vector of a tower, without its maps."""

    def __init__(self, body: ConvTower | TwoLayers) -> None:
        super().__init__()
        self.body = body

    def forward(self, features: Tensor) -> BoxOutput:
        return BoxOutput(self.body(features)[0])


class PanetBranch(MaskBranch):
    """Mask R-CNN's branch on the cuts of regions, with a fully connected mask added to those of all categories.

    The fully connected mask starts before the last convolution, which therefore is not in ``convs``.
    """

    def __init__(self, shape: HeadShape, first: LevelFusion, *, group_norm: bool, relu_on_full: bool) -> None:
        if shape.mask_convs < 2:
            raise UsageError(f"detector.regions.mask_convs: PANet needs at least 2, got {shape.mask_convs}")
        super().__init__(shape)
        width = shape.mask_channels
        between = (conv(width, width, group_norm=group_norm) for _ in range(shape.mask_convs - 2))
        self.convs = nn.Sequential(first, *between)
        self.last = conv(width, width, group_norm=group_norm)
        self.full = FullMask(width, group_norm=group_norm, relu=relu_on_full)

    def logits(self, features: Tensor) -> Tensor:
        return super().logits(self.last(features)) + self.full(features)


class FullMask(nn.Module):
    """A class-agnostic mask from the whole region by a fully connected layer: [R,C,14,14] to logits [R,1,28,28]."""

    def __init__(self, channels: int, *, group_norm: bool, relu: bool) -> None:
        super().__init__()
        half = channels // 2
        self.convs = nn.Sequential(
            conv(channels, channels, group_norm=group_norm), conv(channels, half, group_norm=group_norm)
        )
        self.fc = nn.Linear(half * ROI_SIZE**2, MASK_SIZE**2)
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)
        self.end: Callable[[Tensor], Tensor] = nn.ReLU() if relu else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        mask = self.end(self.fc(self.convs(features).flatten(1)))
        return mask.view(-1, 1, MASK_SIZE, MASK_SIZE)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    c2_xavier_fill(layer)
    return layer
