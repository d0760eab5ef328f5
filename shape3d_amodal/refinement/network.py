"""Stage 5: a small U-Net that decides the hidden region from the image, the masks and the rendered silhouettes.

The published description fixes the inputs (visible mask, cropped appearance, rendered coarse mask) and the aim
(reliable visible edges stay, the uncertain occluded region is refined), not the network. This one is a U-Net
(Ronneberger et al., 2015) whose channels are modulated (FiLM, Perez et al., 2018) by the category and by how well each
silhouette explains the certain pixels: so it can weigh the priors against each other and against the image. A gate,
driven by the same numbers, says how far each silhouette's own logits go into the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, pixel_shuffle, pixel_unshuffle

from shape3d_amodal.config import Width, configuration
from shape3d_amodal.priors.interface import PriorName
from shape3d_amodal.structures import InstanceCrops

GIVEN_CHANNELS = 5
"""Colours, visible mask and occluder mask, before the silhouettes."""
_SURE = 0.02
"""Silhouettes are clamped to this and 1 minus this, so that their logits are finite."""


@configuration
class RefinementConfig:
    """Sizes of the refinement network."""

    patch: Annotated[int, Field(ge=1, le=64)] = 2
    """Side, in crop pixels, of the patch that the network treats as one pixel."""
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (64, 128, 256)
    """Channels at each resolution, from the highest resolution to the lowest."""
    embedding: Width = 32
    """Size of the vector that describes the category and the fits of the silhouettes, and modulates the channels."""
    use_rgb: bool = True
    """Whether the network sees colours, or masks alone."""
    priors: tuple[PriorName, ...] = ("learned",)
    """Whose silhouettes it sees; none makes it a 2D completion."""
    gate: bool = True
    """Whether silhouettes also reach the result directly, each as far as its gate lets it."""


class _Block(nn.Module):
    """Two 3x3 convolutions, the first one modulated by the condition."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.modulate = nn.Linear(condition, 2 * outputs)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(condition)[:, :, None, None].chunk(2, dim=1)
        x = (self.first_norm(self.first(x)) * (1 + scale) + shift).relu()
        return self.second_norm(self.second(x)).relu()


class RefinementNetwork(nn.Module):
    """Crops and the silhouettes of P priors to logits of the amodal mask."""

    def __init__(self, config: RefinementConfig, categories: int) -> None:
        super().__init__()
        self.use_rgb = config.use_rgb
        widths, size, priors = config.widths, config.embedding, len(config.priors)
        self.priors = config.priors
        self.embedding = nn.Embedding(categories, size)
        self.condition = nn.Sequential(nn.Linear(size + 2 * priors, size), nn.ReLU())
        self.gate = nn.Linear(size, priors) if config.gate and priors else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)
        self.patch = config.patch
        pairs = list(zip(((GIVEN_CHANNELS + priors) * config.patch**2, *widths), widths, strict=False))
        self.down = nn.ModuleList(_Block(inputs, outputs, size) for inputs, outputs in pairs)
        ups = list(zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True))
        self.up = nn.ModuleList(_Block(below + beside, beside, size) for below, beside in ups)
        self.head = nn.Conv2d(widths[0], config.patch**2, 1)

    def forward(self, crops: InstanceCrops, silhouettes: Sequence[Tensor], fits: Sequence[Tensor]) -> Tensor:
        """Logits [N,S,S].

        Args:
            crops: N crops; S is a multiple of patch * 2^(levels - 1).
            silhouettes: [N,S,S] in 0..1 of each prior, in the order of ``priors``.
            fits: [N] in 0..1 of each, the silhouette's certain-pixel IoU; 0 where there is no silhouette.
        """
        fit = torch.stack([*fits], dim=1) if fits else crops.visible.new_zeros(len(crops), 0)
        known = (fit > 0).to(fit.dtype)
        condition = self.condition(torch.cat([self.embedding(crops.category), fit, known], dim=1))
        logits: Tensor = self._unet(crops, silhouettes, condition)
        if self.gate is None:
            return logits
        gates = (self.gate(condition).float() * known).unbind(dim=1)
        for gate, silhouette in zip(gates, silhouettes, strict=True):
            logits = logits + gate[:, None, None] * silhouette.float().clamp(_SURE, 1 - _SURE).logit()
        return logits

    def _unet(self, crops: InstanceCrops, silhouettes: Sequence[Tensor], condition: Tensor) -> Tensor:
        if not len(crops):  # torch's pixel_unshuffle fails with no rows
            return torch.zeros_like(crops.visible)
        rgb = crops.rgb - 0.5 if self.use_rgb else torch.zeros_like(crops.rgb)
        masks = torch.stack([crops.visible, crops.occluder, *silhouettes], dim=1)
        x = pixel_unshuffle(torch.cat([rgb, masks], dim=1), self.patch)
        x = x.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for block in self.down:
            x = block(max_pool2d(x, 2) if skips else x, condition)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1), condition)
        logits: Tensor = pixel_shuffle(self.head(x), self.patch)[:, 0].float()
        return logits
