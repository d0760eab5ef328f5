"""From the coarse mask to the refined one, with image features of increasing resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate
from torchvision.ops import Conv2dNormActivation

WIDTHS = (128, 64, 32, 16)
"""Channels from the tokens' resolution to twice that of the first features."""


class RefinementModule(nn.Module):
    """Image features and coarse mask to the logits of the visible and of the amodal mask.

    Args:
        features: channels of the features of ``ImageFeatures``.
    """

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        inner = min(256, features[3])
        self.reduce = nn.Conv2d(features[3], inner, 1)
        self.enter = nn.Sequential(_layer(inner + 2, inner), _layer(inner, WIDTHS[0]))
        self.beside = nn.Conv2d(features[2], WIDTHS[0], 1)
        self.shared = _layer(WIDTHS[0] + 1, WIDTHS[1])
        self.visible, self.amodal = _Branch(features), _Branch(features)

    def forward(self, features: Sequence[Tensor], coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N,S,S] float32 of the visible and of the amodal mask.

        Args:
            features: [N,C,H,W] each, as ``ImageFeatures`` gives them.
            coarse: [N,S,S] in 0..1.
        """
        deep = self.reduce(features[3])
        mask = _at(coarse, deep).to(deep)
        x = self.enter(torch.cat([deep, attention(deep, mask), mask], dim=1)) + self.beside(features[2])
        x = self.shared(_raised(x, features[1], coarse))
        size = coarse.shape[-1]
        visible, amodal = (branch(x, features, coarse, size) for branch in (self.visible, self.amodal))
        return visible, amodal


class _Branch(nn.Module):
    """The last two resolutions, for one of the two masks."""

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        self.beside = nn.ModuleList([nn.Conv2d(features[1], WIDTHS[1], 1), nn.Conv2d(features[0], WIDTHS[2], 1)])
        self.layers = nn.ModuleList([_layer(WIDTHS[1] + 1, WIDTHS[2]), _layer(WIDTHS[2] + 1, WIDTHS[3])])
        self.head = nn.Conv2d(WIDTHS[3], 1, 3, padding=1)

    def forward(self, x: Tensor, features: Sequence[Tensor], coarse: Tensor, size: int) -> Tensor:
        x = self.layers[0](_raised(x + self.beside[0](features[1]), features[0], coarse))
        x = x + self.beside[1](features[0])
        twice = interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.layers[1](torch.cat([twice, _at(coarse, twice).to(twice)], dim=1))
        logits = self.head(x).float()
        return interpolate(logits, size=(size, size), mode="bilinear")[:, 0]


def attention(features: Tensor, mask: Tensor) -> Tensor:
    """Similarity of each position to the mean feature under ``mask`` [N,1,G,G]: a softmax over positions, [N,1,G,G]."""
    keys = features.flatten(2).float()
    weight = mask.flatten(2).float()
    mean = (keys * weight).sum(dim=2, keepdim=True) / (weight.sum(dim=2, keepdim=True) + 1e-6)
    scores = (mean.transpose(1, 2) @ keys).softmax(dim=-1)
    return scores.view(mask.shape).to(features)


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return Conv2dNormActivation(inputs, outputs, bias=True)


def _at(mask: Tensor, like: Tensor) -> Tensor:
    """``mask`` [N,S,S] at the resolution of ``like``, as [N,1,H,W]."""
    return adaptive_avg_pool2d(mask[:, None], like.shape[-1])


def _raised(x: Tensor, like: Tensor, mask: Tensor) -> Tensor:
    """``x`` at the resolution of ``like``, with the mask as one more channel."""
    x = interpolate(x, size=like.shape[-2:], mode="nearest")
    return torch.cat([x, _at(mask, like).to(x)], dim=1)
