"""Layers, sizes and the mask loss that RoI heads share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


@dataclass(frozen=True)
class HeadShape:
    """Sizes that the heads of a system have to fit.

    Attributes:
        classes: number of categories.
        channels: channels C of the pyramid.
        mask_channels, mask_convs: channels and convolutions of the mask heads.
        box_width: width of the vector that class and box are predicted from.
    """

    classes: int
    channels: int = 256
    mask_channels: int = 256
    mask_convs: int = 4
    box_width: int = 1024


def conv(inputs: int, outputs: int, *, stride: int = 1, group_norm: bool = False) -> nn.Sequential:
    """A 3 x 3 convolution, group norm where wanted, and ReLU."""
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    c2_msra_fill(layer)
    norm = [nn.GroupNorm(math.gcd(32, outputs), outputs)] if group_norm else []
    return nn.Sequential(layer, *norm, nn.ReLU())


def convs(*channels: int) -> nn.Sequential:
    """Convolutions, as of ``conv``, from the first of these numbers of channels to the last."""
    return nn.Sequential(*(conv(inputs, outputs) for inputs, outputs in pairwise(channels)))


def upsample(inputs: int, outputs: int, *, size: Literal[2, 3] = 2) -> nn.Sequential:
    """A transposed convolution of ``size`` x ``size`` that doubles the resolution, and ReLU."""
    layer = nn.ConvTranspose2d(inputs, outputs, size, stride=2, padding=size - 2, output_padding=size - 2)
    c2_msra_fill(layer)
    return nn.Sequential(layer, nn.ReLU())


class MaskBranch(nn.Module):
    """Mask R-CNN's mask branch ("4conv1deconv"): convolutions at 14 x 14, one upsampling, and a logit for each class.

    Args:
        inputs: channels of the features; by default the pyramid's.
        classes: number of masks of each region; 1 is a class-agnostic branch. By default one for each category.
    """

    def __init__(self, shape: HeadShape, *, inputs: int | None = None, classes: int | None = None) -> None:
        super().__init__()
        width = shape.mask_channels
        self.convs = convs(shape.channels if inputs is None else inputs, *[width] * shape.mask_convs)
        self.up = upsample(width, width)
        self.predictor = predictor(width, shape.classes if classes is None else classes)

    def forward(self, features: Tensor) -> Tensor:
        """Features [R,C,14,14] to logits [R,classes,28,28]."""
        return self.logits(self.convs(features))

    def logits(self, features: Tensor) -> Tensor:
        """Upsampling and last convolution: [R,mask_channels,14,14] to [R,classes,28,28]."""
        return self.predictor(self.up(features))


def predictor(inputs: int, classes: int) -> nn.Conv2d:
    """The last 1 x 1 convolution of a mask branch, as Mask R-CNN starts it."""
    layer = nn.Conv2d(inputs, classes, 1)
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    return layer


def of_category(logits: Tensor, category: Tensor) -> Tensor:
    """Logits [R,28,28] float32 of each region's own ``category`` [R], from ``logits`` [R,classes,28,28].

    A class-agnostic branch has one class, which serves all categories.
    """
    if logits.shape[1] == 1:
        return logits[:, 0].float()
    return logits[torch.arange(len(category), device=category.device), category].float()


def mask_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of logits and targets [R,28,28], each region's times its ``weight`` [R] where given.

    It is zero where R is 0.
    """
    if not len(logits):
        return logits.sum() * 0
    return binary_cross_entropy_with_logits(logits, target, None if weight is None else weight[:, None, None])
