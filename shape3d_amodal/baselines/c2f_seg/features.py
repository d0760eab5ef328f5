"""Image features: a ResNet whose last stage keeps the resolution of the one before it."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from shape3d_amodal.config import configuration


@configuration
class FeaturesConfig:
    """Sizes of the image encoder."""

    blocks: Annotated[tuple[int, ...], Field(min_length=4, max_length=4)] = (1, 1, 1, 1)
    """Residual blocks of each stage; (3, 4, 6, 3) with bottlenecks is ResNet-50."""
    bottleneck: bool = False
    """Whether its blocks are bottlenecks."""


class ImageFeatures(nn.Module):
    """Colours to features at strides 2, 4, 8, 8, or 4, 8, 16, 16.

    Attributes:
        widths: channels of the four.
    """

    def __init__(self, config: FeaturesConfig, stride: int) -> None:
        super().__init__()
        block = Bottleneck if config.bottleneck else BasicBlock
        net = ResNet(block, list(config.blocks))
        first = net.layer4[0]
        for conv in (first.conv1, first.conv2, first.downsample[0]):
            conv.stride = (1, 1)
        pool = [net.maxpool] if stride == 16 else []
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, *pool)
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.widths = tuple(width * block.expansion for width in (64, 128, 256, 512))

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Features [N,C,H,W] of each stage for ``rgb`` [N,3,S,S] in 0..1."""
        x = self.stem((rgb - 0.5).contiguous(memory_format=torch.channels_last))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
