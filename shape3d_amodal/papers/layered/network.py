"""DeepLabV3+ with two heads for each layer of depth: class and embedding of each pixel.

The paper's backbone is Xception. Ours is a ResNet of torchvision, which DeepLabV3+ (Chen et al., ECCV 2018) was
also published with, with group norm of 8 groups in place of batch norm, since batches are small.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import Conv2dNormActivation

from shape3d_amodal.config import Count, configuration
from shape3d_amodal.errors import UsageError

STRIDE = 4
"""Side of an output pixel in image pixels."""
_GROUPS = 8
_LOW_LEVEL = 48
"""Channels of the low-level features for the decoder (DeepLabV3+)."""

Channels = Annotated[int, Field(ge=_GROUPS, multiple_of=_GROUPS)]


@configuration
class LayeredConfig:
    """The network."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)] = ("circle", "triangle", "rectangle")
    """Category names."""
    layers: Annotated[int, Field(ge=1, le=8)] = 2
    """Layers of depth: 2 are the nearest object at each pixel and the one behind it."""
    embedding: Count = 6
    """Numbers of a pixel's embedding (C)."""
    image_size: Annotated[int, Field(ge=64, multiple_of=32)] = 256
    """Side that images are resized to, in pixels; the output has a quarter of it."""
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet101"
    """ResNet with a stride of 16: the fourth stage of resnet50 and resnet101 is dilated, the others end before it."""
    features: Channels = 256
    """Channels of pyramid and decoder."""
    heads: Annotated[tuple[Channels, ...], Field(min_length=1)] = (256, 256, 128)
    """Channels of the hidden layers of each head."""
    coordinates: bool = False
    """Add two input channels with each pixel's coordinates, unlike the paper."""

    def __post_init__(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise UsageError(f"classes: expected each name once, got {', '.join(self.classes)}; leave out the second")


class LayeredOutput(NamedTuple):
    """The output for B images in L layers, the nearest first, at a quarter of the resolution.

    Attributes:
        logits: [B,L,1+K,H,W], of background and of each class.
        embeddings: [B,L,C,H,W].
    """

    logits: Tensor
    embeddings: Tensor


class LayeredNetwork(nn.Module):
    """Images to classes and embeddings of their pixels."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.config = config
        deep = config.backbone in ("resnet50", "resnet101")
        backbone = getattr(resnet, config.backbone)(
            norm_layer=_norm, replace_stride_with_dilation=(False, False, deep), num_classes=_GROUPS
        )
        if config.coordinates:
            backbone.conv1 = nn.Conv2d(5, 64, 7, stride=2, padding=3, bias=False)
        last = "layer4" if deep else "layer3"
        low_channels, high_channels = (_out_channels(getattr(backbone, stage)) for stage in ("layer1", last))
        self.backbone = IntermediateLayerGetter(backbone, {"layer1": "low", last: "high"})
        self.pyramid = AtrousPyramid(high_channels, config.features)
        self.low_level = _conv(low_channels, _LOW_LEVEL, 1)
        self.decoder = nn.Sequential(
            _conv(config.features + _LOW_LEVEL, config.features, 3), _conv(config.features, config.features, 3)
        )
        head = partial(_head, config.features, config.heads)
        self.class_heads = nn.ModuleList(head(1 + len(config.classes)) for _ in range(config.layers))
        self.embedding_heads = nn.ModuleList(head(config.embedding) for _ in range(config.layers))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a sixth faster on a CPU

    def forward(self, images: Tensor) -> LayeredOutput:
        """``images`` [B,3,S,S] in 0..1 with S a multiple of 32."""
        inputs = 2 * images - 1
        if self.config.coordinates:
            inputs = torch.cat([inputs, _places(inputs)], dim=1)
        found = self.backbone(inputs)
        low = self.low_level(found["low"])
        high = nn.functional.interpolate(self.pyramid(found["high"]), size=low.shape[-2:], mode="bilinear")
        features = self.decoder(torch.cat([high, low], dim=1))
        return LayeredOutput(
            torch.stack([head(features) for head in self.class_heads], dim=1).float(),
            torch.stack([head(features) for head in self.embedding_heads], dim=1).float(),
        )


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabV3): one 1x1 and three dilated convolutions, and the image's mean.

    torchvision's has batch norm built in.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        dilated = [_conv(channels, features, 3, dilation=rate) for rate in (6, 12, 18)]
        self.branches = nn.ModuleList([_conv(channels, features, 1), *dilated])
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, features, 1), nn.ReLU())
        self.project = _conv(features * (len(self.branches) + 1), features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,H,W] to [B,features,H,W]."""
        found = [branch(x) for branch in self.branches]
        mean: Tensor = self.mean(x).expand_as(found[0])
        result: Tensor = self.project(torch.cat([*found, mean], dim=1))
        return result


_norm = partial(nn.GroupNorm, _GROUPS)


def _conv(channels: int, features: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    return Conv2dNormActivation(channels, features, kernel, dilation=dilation, norm_layer=_norm)


def _head(channels: int, hidden: tuple[int, ...], out: int) -> nn.Sequential:
    """Convolutions of 3x3 with ReLU between them."""
    widths = (channels, *hidden)
    layers = [[nn.Conv2d(a, b, 3, padding=1), nn.ReLU()] for a, b in zip(widths, hidden, strict=False)]
    return nn.Sequential(*(part for layer in layers for part in layer), nn.Conv2d(widths[-1], out, 3, padding=1))


def _out_channels(stage: nn.Sequential) -> int:
    return [part for part in stage[-1].modules() if isinstance(part, nn.Conv2d)][-1].out_channels


def _places(images: Tensor) -> Tensor:
    """x and y of each pixel, [B,2,H,W] in -1..1."""
    y, x = (torch.linspace(-1, 1, side, device=images.device, dtype=images.dtype) for side in images.shape[-2:])
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).expand(len(images), -1, -1, -1)
