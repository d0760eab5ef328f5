"""The options of a detector. The defaults are those of detectron2's Mask R-CNN with a ResNet-50 and a pyramid."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shape3d_amodal.config import Depth, Finite, Positive, Share, Width, configuration
from shape3d_amodal.errors import UsageError

LEVELS = ("p2", "p3", "p4", "p5", "p6")
"""Names of the pyramid's levels; level pN has a stride of 2^N pixels."""
ROI_LEVELS = LEVELS[:-1]
"""The levels that regions are cut from; the last one serves the proposals alone."""
STRIDES = {name: 2 ** int(name[1:]) for name in LEVELS}

_Number = Annotated[int, Field(ge=1, le=100_000)]
_Side = Annotated[int, Field(ge=32, le=16_384)]


@configuration
class BackboneConfig:
    """ResNet and feature pyramid."""

    depth: Literal[18, 34, 50, 101] = 50
    """Layers of the ResNet."""
    norm: Literal["FrozenBN", "GN", "BN"] = "FrozenBN"
    """FrozenBN needs pretrained weights; GN trains from scratch at any batch size; BN needs large batches."""
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 2
    """Stages of the ResNet, the stem first, that are not trained; 0 for training from scratch."""
    stride_in_1x1: bool = False
    """Whether the bottlenecks of depth 50 and 101 have their stride in the first convolution, as detectron2's own
    pretrained ResNets, or in the second, as those of torchvision."""
    channels: Width = 256
    """Channels of every level of the pyramid."""
    weights: str | None = None
    """Safetensors file that training starts from (see ``pretrained``): a ResNet of torchvision, or a detector of
    detectron2, whose proposals and box head are loaded, too; without it the start is random."""
    bgr: bool = False
    """Whether that file's network was trained on BGR images, as those of detectron2; they also need
    ``input.std: [1, 1, 1]``."""


@configuration
class ProposalConfig:
    """The region proposal network."""

    sizes: tuple[Positive, Positive, Positive, Positive, Positive] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Side in pixels of the anchors on each level of the pyramid."""
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1.0, 2.0)
    """Height / width of the anchors."""
    sampled: _Number = 256
    """Anchors of each image that the losses use."""
    before_nms: tuple[_Number, _Number] = (2000, 1000)
    """Best proposals of each level before non-maximum suppression, in training and at inference."""
    after_nms: tuple[_Number, _Number] = (1000, 1000)
    """Proposals of each image that are kept, in training and at inference."""
    nms: Share = 0.7
    """Overlap (IoU) above which the lesser of two proposals is dropped."""


@configuration
class RegionConfig:
    """Regions of interest and the heads on them."""

    sampled: _Number = 512
    """Regions of each image that the heads are trained with."""
    positive: Share = 0.25
    """Largest share of them that lies on objects."""
    box_width: Width = 1024
    """Width of the fully connected layers that class and box are predicted from."""
    mask_channels: Width = 256
    """Channels of the mask heads."""
    mask_convs: Depth = 4
    """Convolutions of the mask heads before the upsampling."""
    min_score: Share = 0.05
    """Least score of a detection."""
    nms: Share = 0.5
    """Overlap (IoU) above which the lesser of two boxes of a category is dropped."""
    detections: _Number = 100
    """Most detections of each image."""


@configuration
class InputConfig:
    """Size and colours of the images that the network sees."""

    short_side: _Side = 800
    """Images are resized until their shorter side has so many pixels ..."""
    long_side: _Side = 1333
    """... or their longer side this many."""
    mean: tuple[Finite, Finite, Finite] = (123.675, 116.28, 103.53)
    """Mean of red, green and blue (0..255) that is subtracted."""
    std: tuple[Positive, Positive, Positive] = (58.395, 57.12, 57.375)
    """What red, green and blue are divided by."""


@configuration
class DetectorConfig:
    """Everything of the detector but the heads of its system."""

    categories: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names of the categories; without any a training takes those of its annotation file, or ShapeNet's 13."""
    input: InputConfig = InputConfig()
    """Size and colours of the images."""
    backbone: BackboneConfig = BackboneConfig()
    """Features."""
    proposals: ProposalConfig = ProposalConfig()
    """The region proposal network."""
    regions: RegionConfig = RegionConfig()
    """Regions of interest and the heads on them."""

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.categories if self.categories.count(name) > 1})
        if twice:
            raise UsageError(f"detector.categories: expected different names, got {twice[0]!r} twice; remove one")


@configuration
class AugmentConfig:
    """How training images are changed."""

    flip: Share = 0.5
    """Share of the images that are mirrored."""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)
    """Smallest and largest factor of the shorter side's length; the limit of the longer side stays."""
