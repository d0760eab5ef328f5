"""The options of a detector. The defaults are those of detectron2's Mask R-CNN with a ResNet-50 and a pyramid."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shape3d_amodal.config import Count, Share, configuration

LEVELS = ("p2", "p3", "p4", "p5", "p6")
"""Names of the pyramid's levels; level pN has a stride of 2^N pixels."""
ROI_LEVELS = LEVELS[:-1]
"""The levels that regions are cut from; the last one serves the proposals alone."""
STRIDES = {name: 2 ** int(name[1:]) for name in LEVELS}


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
    channels: Count = 256
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

    sizes: tuple[float, float, float, float, float] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Side in pixels of the anchors on each level of the pyramid."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height / width of the anchors."""
    sampled: Count = 256
    """Anchors of each image that the losses use."""
    before_nms: tuple[Count, Count] = (2000, 1000)
    """Best proposals of each level before non-maximum suppression, in training and at inference."""
    after_nms: tuple[Count, Count] = (1000, 1000)
    """Proposals of each image that are kept, in training and at inference."""
    nms: Share = 0.7
    """Overlap (IoU) above which the lesser of two proposals is dropped."""


@configuration
class RegionConfig:
    """Regions of interest and the heads on them."""

    sampled: Count = 512
    """Regions of each image that the heads are trained with."""
    positive: Share = 0.25
    """Largest share of them that lies on objects."""
    box_width: Count = 1024
    """Width of the fully connected layers that class and box are predicted from."""
    mask_channels: Count = 256
    """Channels of the mask heads."""
    mask_convs: Count = 4
    """Convolutions of the mask heads before the upsampling."""
    min_score: Share = 0.05
    """Least score of a detection."""
    nms: Share = 0.5
    """Overlap (IoU) above which the lesser of two boxes of a category is dropped."""
    detections: Count = 100
    """Most detections of each image."""


@configuration
class InputConfig:
    """Size and colours of the images that the network sees."""

    short_side: Annotated[int, Field(ge=32)] = 800
    """Images are resized until their shorter side has so many pixels ..."""
    long_side: Annotated[int, Field(ge=32)] = 1333
    """... or their longer side this many."""
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Mean of red, green and blue (0..255) that is subtracted."""
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """What red, green and blue are divided by."""


@configuration
class DetectorConfig:
    """Everything of the detector but the heads of its system."""

    categories: tuple[str, ...] = ()
    """Names of the categories; without any a training takes those of its annotation file, or ShapeNet's 13."""
    input: InputConfig = InputConfig()
    """Size and colours of the images."""
    backbone: BackboneConfig = BackboneConfig()
    """Features."""
    proposals: ProposalConfig = ProposalConfig()
    """The region proposal network."""
    regions: RegionConfig = RegionConfig()
    """Regions of interest and the heads on them."""
