"""Stage 5: a small U-Net that decides the hidden region from the picture, the masks and the rendered silhouette.

The published description fixes the inputs (visible mask, cropped appearance, rendered coarse mask) and the aim
(reliable visible edges stay, the uncertain occluded region is refined), not the network. This one is a U-Net
(Ronneberger et al., 2015) whose channels are modulated (FiLM, Perez et al., 2018) by the category and by how well the
silhouette explains the certain pixels: so it can weigh the prior against what the picture shows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from shape3d_amodal.config import configuration
from shape3d_amodal.structures import InstanceCrops


@configuration
class RefinementConfig:
    """Sizes of the refinement network."""

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels at each resolution, from the crop's own downwards."""
    embedding: int = 32
    """Numbers that describe the category and the prior's fit to the channels' modulation."""
    use_rgb: bool = True
    """Whether the network sees colours, or masks alone."""


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
    """Crops and silhouettes to logits of the amodal mask."""

    def __init__(self, config: RefinementConfig, categories: int) -> None:
        super().__init__()
        self.use_rgb = config.use_rgb
        widths, size = config.widths, config.embedding
        self.embedding = nn.Embedding(categories, size)
        self.condition = nn.Sequential(nn.Linear(size + 2, size), nn.ReLU())
        pairs = list(zip((6, *widths), widths, strict=False))
        self.down = nn.ModuleList(_Block(inputs, outputs, size) for inputs, outputs in pairs)
        ups = list(zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True))
        self.up = nn.ModuleList(_Block(below + beside, beside, size) for below, beside in ups)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, crops: InstanceCrops, silhouette: Tensor | None, fit: Tensor | None) -> Tensor:
        """Logits [N,S,S].

        Args:
            crops: N crops; S is a multiple of 2^(levels - 1).
            silhouette: [N,S,S] in 0..1, or None where there is no prior.
            fit: [N] in 0..1, certain-pixel IoU of the silhouette; None with it.
        """
        if silhouette is None or fit is None:
            silhouette, fit = torch.zeros_like(crops.visible), torch.zeros_like(crops.visible[:, 0, 0])
        known = (fit > 0).to(fit.dtype)
        condition = self.condition(torch.cat([self.embedding(crops.category), fit[:, None], known[:, None]], dim=1))
        rgb = crops.rgb - 0.5 if self.use_rgb else torch.zeros_like(crops.rgb)
        masks = torch.stack([crops.visible, crops.occluder, silhouette], dim=1)
        x = torch.cat([rgb, masks], dim=1).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for block in self.down:
            x = block(max_pool2d(x, 2) if skips else x, condition)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1), condition)
        logits: Tensor = self.head(x)[:, 0].float()
        return logits
