"""Predicts the tokens of the amodal mask from image and visible mask in rounds (MaskGIT, Chang et al., CVPR 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from shape3d_amodal.config import Count, configuration
from shape3d_amodal.errors import UsageError

LEAST_RATE = 0.5
"""Smallest share of the tokens that is masked in training."""
TRAINING_CHOICES, CHOICES = 5, 3
"""Number of most probable codes that a token is drawn from, in training and at inference."""
TEMPERATURE = 4.5
"""Initial weight of the noise in a token's certainty; it falls to 0 in the last round."""


@configuration
class TransformerConfig:
    """Sizes of the transformer."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 192
    """Channels of a position: half from the image, a quarter each from the visible and the amodal mask's token."""
    layers: Count = 6
    """Layers."""
    heads: Count = 6
    """Attention heads of each."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Dropout in training."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UsageError(f"heads: expected a divisor of width ({self.width}), got {self.heads}; change one")


class MaskedTransformer(nn.Module):
    """A bidirectional transformer over the positions of a mask's tokens.

    Args:
        config: its sizes.
        codes: number K of codes; K itself is the token for unknown.
        positions: number L of tokens of a mask.
        features: channels C of the image features, which have the tokens' resolution.
    """

    def __init__(self, config: TransformerConfig, codes: int, positions: int, features: int) -> None:
        super().__init__()
        width = config.width
        self.image = nn.Conv2d(features, width // 2, 3, padding=1)
        self.visible = nn.Embedding(codes, width // 4)
        self.amodal = nn.Embedding(codes + 1, width // 4)
        self.position = nn.Parameter(torch.zeros(positions, width))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 4 * width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, codes)
        )
        self.unknown = codes
        for part in (self.visible.weight, self.amodal.weight, self.position):
            nn.init.normal_(part, std=0.02)

    def forward(self, features: Tensor, visible: Tensor, amodal: Tensor) -> Tensor:
        """Logits [N,L,K] float32 of the amodal mask's tokens.

        Args:
            features: [N,C,G,G].
            visible: [N,L] int64.
            amodal: [N,L] int64, ``unknown`` where the token is to be predicted.
        """
        image = self.image(features).flatten(2).transpose(1, 2)
        x = torch.cat([image, self.visible(visible).to(image), self.amodal(amodal).to(image)], dim=2) + self.position
        return self.head(self.layers(x)).float()


def unknown_after(round_: int, rounds: int, positions: int) -> int:
    """The number of unknown tokens after the 0-based ``round_``: it falls like a cosine, to 0 after the last one."""
    if round_ == rounds - 1:
        return 0
    return max(1, math.floor(positions * math.cos((round_ + 1) / rounds * math.pi / 2)))


def mask_tokens(tokens: Tensor, unknown: int) -> Tensor:
    """``tokens`` [N,L] with a random share of each row, as in a random round, replaced by ``unknown``."""
    count, positions = tokens.shape
    shares = torch.cos(torch.rand(count, 1, device=tokens.device) * math.pi / 2).clamp(min=LEAST_RATE)
    order = torch.rand(count, positions, device=tokens.device).argsort(dim=1).argsort(dim=1)
    return torch.where(order < (shares * positions).floor(), unknown, tokens)


def draw(logits: Tensor, choices: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Tokens [N,L] drawn from the ``choices`` most probable codes of logits [N,L,K], and their probabilities [N,L]."""
    values, places = logits.topk(min(choices, logits.shape[-1]), dim=-1)
    probability = values.softmax(dim=-1)
    drawn = torch.multinomial(probability.flatten(0, 1), 1, generator=generator).view(*logits.shape[:2], 1)
    return places.gather(-1, drawn)[..., 0], probability.gather(-1, drawn)[..., 0]


def seeded(*numbers: int) -> torch.Generator:
    """Random numbers on the CPU that depend on ``numbers`` alone."""
    state = np.random.SeedSequence([number % 2**64 for number in numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def draw_rows(logits: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens and probabilities as from ``draw``, and Gumbel noise, all [N,L]; each row has its own generator."""
    rows = []
    for own, generator in zip(logits.split(1), generators, strict=True):
        found, probability = draw(own, CHOICES, generator)
        uniform = torch.rand(probability.shape, generator=generator).clamp(1e-9, 1 - 1e-7)
        rows.append((found, probability, -torch.log(-torch.log(uniform))))
    found, probability, noise = (torch.cat(part) for part in zip(*rows, strict=True))
    return found, probability, noise


def complete_tokens(
    network: MaskedTransformer, features: Tensor, visible: Tensor, rounds: int, generators: Sequence[torch.Generator]
) -> Tensor:
    """The amodal mask's tokens [N,L]: each round draws all unknown tokens and keeps the most certain ones.

    Args:
        features, visible: as for ``MaskedTransformer``, N > 0.
        rounds: number of rounds.
        generators: one for each mask, on the CPU, so that masks do not depend on each other.
    """
    tokens = torch.full_like(visible, network.unknown)
    drawn = tokens
    for i in range(rounds):
        unknown = tokens == network.unknown
        found, probability, noise = draw_rows(network(features, visible, tokens).cpu(), generators)
        drawn = torch.where(unknown, found.to(tokens.device), tokens)
        certainty = probability.log() + TEMPERATURE * (1 - (i + 1) / rounds) * noise
        certainty = certainty.to(tokens.device).masked_fill(~unknown, math.inf)
        rank = certainty.argsort(dim=1).argsort(dim=1)
        tokens = torch.where(rank < unknown_after(i, rounds, visible.shape[1]), network.unknown, drawn)
    return drawn
