"""Layers and losses that the systems share."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from shape3d_amodal.segmentation.frame import FrameShape


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Sequential:
    """A convolution that keeps the size, and ReLU."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    _msra(layer)
    return nn.Sequential(layer, nn.ReLU())


def upsample(inputs: int, outputs: int) -> nn.Sequential:
    """A transposed convolution that doubles the size, and ReLU."""
    layer = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
    _msra(layer)
    return nn.Sequential(layer, nn.ReLU())


class MaskBranch(nn.Module):
    """ "4conv1deconv": convolutions at 14 x 14, one upsampling, and a logit a class.

    Args:
        inputs: channels of the features; by default the pyramid's.
        classes: masks a region; 1 is a class-agnostic branch. By default one a category.
    """

    def __init__(self, shape: FrameShape, *, inputs: int | None = None, classes: int | None = None) -> None:
        super().__init__()
        width = shape.mask_channels
        ends = [shape.channels if inputs is None else inputs] + [width] * shape.mask_convs
        self.convs = nn.ModuleList(conv(a, b) for a, b in pairwise(ends))
        self.up = upsample(width, width)
        self.predictor = predictor(width, shape.classes if classes is None else classes)

    def forward(self, features: Tensor) -> Tensor:
        """Features [R,C,14,14] to logits [R,classes,28,28]."""
        return self.logits(self.features(features))

    def features(self, features: Tensor) -> Tensor:
        """What the convolutions make of the features: [R,mask_channels,14,14]."""
        for layer in self.convs:
            features = layer(features)
        return features

    def logits(self, features: Tensor) -> Tensor:
        """The end of the branch: [R,mask_channels,14,14] to [R,classes,28,28]."""
        logits: Tensor = self.predictor(self.up(features))
        return logits


def predictor(inputs: int, classes: int) -> nn.Conv2d:
    """The last 1 x 1 convolution of a mask branch, as Mask R-CNN starts it."""
    layer = nn.Conv2d(inputs, classes, 1)
    nn.init.normal_(layer.weight, std=0.001)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def of_category(logits: Tensor, category: Tensor) -> Tensor:
    """The logits [R,28,28] of each region's own category [R] out of [R,classes,28,28]; of one class, that."""
    if logits.shape[1] == 1:
        return logits[:, 0].float()
    return logits[torch.arange(len(category), device=category.device), category].float()


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits and targets [R,28,28]; zero of no regions."""
    if not len(logits):
        return logits.sum() * 0
    return binary_cross_entropy_with_logits(logits, target)


def _msra(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
