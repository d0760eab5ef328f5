"""The completion network and its loss."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, max_pool2d
from torchvision.ops import Conv2dNormActivation

from shape3d_amodal.config import Count, configuration


@configuration
class PcnetMConfig:
    """Sizes of the network."""

    size: Annotated[int, Field(ge=16, multiple_of=16)] = 256
    """Side of the crops in pixels."""
    width: Count = 2
    """Factor of the channels, which are 16, 32, 64 and 128 times this at full, half, quarter and lower resolution."""


class CompletionNetwork(nn.Module):
    """A U-Net of five levels from visible mask and eraser to the logits of background and object."""

    def __init__(self, config: PcnetMConfig) -> None:
        super().__init__()
        self.config = config
        down = [factor * config.width for factor in (16, 32, 64, 128, 128)]
        up = [factor * config.width for factor in (64, 32, 16, 16)]
        inputs = [2, *down[:-1]]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip(inputs, down, strict=True))
        below, beside = [down[-1], *up[:-1]], down[-2::-1]
        self.up = nn.ModuleList(_double(a + b, c) for a, b, c in zip(below, beside, up, strict=True))
        self.head = nn.Conv2d(up[-1], 2, 1)

    def forward(self, visible: Tensor, eraser: Tensor) -> Tensor:
        """Logits [N,2,S,S] float32.

        Args:
            visible: [N,S,S] bool, without the eraser's pixels.
            eraser: [N,S,S] bool, where something may hide the object.
        """
        x = torch.stack([visible, eraser], dim=1).float().contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for block in self.down:
            x = block(max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([skip, interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)], dim=1))
        return self.head(x).float()


def completion_loss(logits: Tensor, target: Tensor, eraser: Tensor, eraser_weight: float) -> Tensor:
    """Mean cross-entropy of logits [N,2,S,S] and target [N,S,S] bool; the eraser's pixels have ``eraser_weight``."""
    weight = 1 + (eraser_weight - 1) * eraser.float()
    return (weight * cross_entropy(logits, target.long(), reduction="none")).mean()


def _double(inputs: int, outputs: int) -> nn.Sequential:
    first, second = (Conv2dNormActivation(channels, outputs, bias=True) for channels in (inputs, outputs))
    return nn.Sequential(*first, *second)
