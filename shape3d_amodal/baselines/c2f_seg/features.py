"""Image features: a ResNet whose last stage keeps the resolution of the one before it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from shape3d_amodal.config import configuration
from shape3d_amodal.errors import WeightsError
from shape3d_amodal.files import safe_io
from shape3d_amodal.files.weights import unpack_tensors

MAX_BYTES = 1024**3
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's colours, by which the inputs of torchvision's weights are normalised."""


@configuration
class FeaturesConfig:
    """Sizes of the image encoder."""

    blocks: Annotated[tuple[int, ...], Field(min_length=4, max_length=4)] = (1, 1, 1, 1)
    """Residual blocks of each stage; (3, 4, 6, 3) with bottlenecks is ResNet-50."""
    bottleneck: bool = False
    """Whether the blocks are bottlenecks."""


class ImageFeatures(nn.Module):
    """Colours to features of four stages, at strides 2, 4, 8, 8 (``stride`` 8) or 4, 8, 16, 16 (``stride`` 16).

    Attributes:
        widths: channels of the four stages.
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


def load_resnet(features: ImageFeatures, file: Path) -> None:
    """Load a safetensors file of a ResNet with torchvision's names (``segmentation.pretrained`` says how to make one).

    The first layers are changed so that our colours give the features that normalised colours gave.

    Raises:
        WeightsError: the file cannot be read, or lacks a tensor of such a ResNet.
    """
    given = unpack_tensors(safe_io.read_bytes(file, MAX_BYTES), file)
    own = {name: one for name, one in features.state_dict().items() if not name.endswith("num_batches_tracked")}
    names = {name: _torchvision_name(name) for name in own}
    found = {name: given[key] for name, key in names.items() if key in given and given[key].shape == own[name].shape}
    missing = [names[name] for name in own if name not in found]
    if missing:
        problem = f"expected the weights of a ResNet of the configured blocks, {missing[0]} is missing or differs"
        raise WeightsError(f"{problem}; use another file, or change features", file=file)
    mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in (_MEAN, _DEVIATION))
    first = found["stem.0.weight"] / deviation
    shift = (first * (0.5 - mean)).sum(dim=(1, 2, 3))
    changed = {"stem.0.weight": first, "stem.1.running_mean": found["stem.1.running_mean"] - shift}
    features.load_state_dict({**found, **changed}, strict=False)


def _torchvision_name(name: str) -> str:
    """Torchvision's name of the parameter ``name`` of ``ImageFeatures``."""
    part, number, rest = name.split(".", 2)
    return f"{('conv1', 'bn1')[int(number)]}.{rest}" if part == "stem" else f"layer{int(number) + 1}.{rest}"
