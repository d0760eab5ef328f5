"""Stage 3: K viewpoint hypotheses an instance and a head that selects one of them.

Each hypothesis owns a sector of the azimuth (UNICORN; Insafutdinov & Dosovitskiy, 2018). In training the hypothesis
whose silhouette fits best learns, and the selection head is distilled from that choice; at test time the head alone
decides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from shape3d_amodal.config import configuration
from shape3d_amodal.priors.learned.traits import CategoryTraits
from shape3d_amodal.priors.optimization import ViewpointBounds
from shape3d_amodal.structures import Viewpoint, ViewpointHypotheses


@configuration
class ViewpointConfig:
    """Ranges of the viewpoint."""

    hypotheses: int = 4
    """Azimuth sectors (K); 1 is a single regression over the full circle."""
    max_elevation_deg: float = 40.0
    """Elevations lie between 0 and this."""
    max_roll_deg: float = 0.0
    """Rolls lie between minus and plus this; 0 for cameras that stand upright."""
    max_log_scale: float = 0.9
    """The logarithm of the scale lies between minus and plus this, around ``mean_scale``."""
    mean_scale: float = 1.0
    """Scale at which the search starts."""
    max_offset: float = 0.9
    """Offsets lie between minus and plus this, in crop NDC."""
    overlap: float = 1.04
    """Half-width of an azimuth sector relative to pi / K; a little over 1 so that sectors overlap."""

    @property
    def bounds(self) -> ViewpointBounds:
        """Where the head's viewpoints lie."""
        roll, factor = math.radians(self.max_roll_deg), math.exp(self.max_log_scale)
        return ViewpointBounds(
            elevation=(0.0, math.radians(self.max_elevation_deg)),
            roll=(-roll, roll),
            scale=(self.mean_scale / factor, self.mean_scale * factor),
            offset=(-self.max_offset, self.max_offset),
        )


class ViewpointHead(nn.Module):
    """Features [N,D] to K viewpoint hypotheses; every quantity is bounded."""

    azimuth: Tensor | None

    def __init__(self, config: ViewpointConfig, features: int, traits: CategoryTraits | None = None) -> None:
        super().__init__()
        azimuth = None if traits is None else torch.tensor(traits.azimuth)
        self.register_buffer("azimuth", azimuth, persistent=False)
        self.config = config
        K = config.hypotheses
        self.parameters_of = nn.Sequential(nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, 6 * K))
        self.select = nn.Sequential(nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, K))
        last = self.parameters_of[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=1e-2)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor, category: Tensor | None = None) -> tuple[ViewpointHypotheses, Tensor]:
        """Hypotheses of shape [N,K], and the selection logits [N,K].

        Args:
            features: [N,D].
            category: [N] int64; needed where ranges of the azimuth are told.
        """
        config, K = self.config, self.config.hypotheses
        # 0.5 keeps the first gradients of tanh and sigmoid in their steep part.
        azimuth, elevation, roll, scale, x, y = (0.5 * self.parameters_of(features)).view(-1, 6, K).unbind(dim=1)
        centre = torch.arange(K, device=features.device, dtype=features.dtype) * (2 * math.pi / K)
        half: float | Tensor = math.pi / K
        if self.azimuth is not None and category is not None:
            whole = self.azimuth[category][:, None]
            half = whole / (2 * K)
            within = (torch.arange(K, device=features.device) - (K - 1) / 2) * whole / K
            centre = torch.where(whole < 2 * math.pi, within, centre)
        viewpoint = Viewpoint(
            azimuth=centre + azimuth.tanh() * half * config.overlap,
            elevation=elevation.sigmoid() * math.radians(config.max_elevation_deg),
            roll=roll.tanh() * math.radians(config.max_roll_deg),
            scale=config.mean_scale * (scale.tanh() * config.max_log_scale).exp(),
            offset=torch.stack([x.tanh(), y.tanh()], dim=-1) * config.max_offset,
        )
        # The head must not shape the features towards its own guess: it is distilled.
        logits = self.select(features.detach())
        return ViewpointHypotheses(viewpoint, logits.softmax(dim=1)), logits
