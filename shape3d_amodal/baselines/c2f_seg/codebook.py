"""Masks as tokens: a convolutional autoencoder with a vector-quantised code (van den Oord et al., NeurIPS 2017)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, mse_loss

from shape3d_amodal.config import Count, configuration
from shape3d_amodal.errors import UsageError

COMMITMENT = 0.25
"""Weight of the loss that pulls encodings to their codes."""


@configuration
class CodebookConfig:
    """Sizes of the autoencoder."""

    size: Annotated[int, Field(ge=16)] = 64
    """Side of the crops in pixels."""
    widths: Annotated[tuple[int, ...], Field(min_length=4, max_length=5)] = (16, 32, 64, 128)
    """Channels at each resolution, from the crop's own, halved, down to the tokens'."""
    blocks: Count = 1
    """Residual blocks at each resolution."""
    codes: Annotated[int, Field(ge=2)] = 256
    """Number of codes K."""
    code_size: Count = 8
    """Length D of a code."""

    def __post_init__(self) -> None:
        if self.size % self.stride:
            problem = f"expected a multiple of {self.stride}, what {len(self.widths)} widths divide it by"
            raise UsageError(f"size: {problem}, got {self.size}; change size or widths")

    @property
    def stride(self) -> int:
        """Side of a token in crop pixels."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def grid(self) -> int:
        """Tokens along a side of the crop."""
        return self.size // self.stride


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for _ in range(2):
            parts += [nn.BatchNorm2d(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.layers = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Upsample(nn.Module):
    """Doubles the resolution, then a 3 x 3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(interpolate(x, scale_factor=2.0, mode="nearest"))


class MaskCodebook(nn.Module):
    """Encodes masks as tokens and decodes them."""

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        widths = config.widths
        self.config = config
        encoder: list[nn.Module] = [nn.Conv2d(1, widths[0], 3, padding=1)]
        for width, following in zip(widths, (*widths[1:], None), strict=True):
            encoder += [ResidualBlock(width) for _ in range(config.blocks)]
            encoder += [nn.Conv2d(width, following, 4, stride=2, padding=1)] if following else []
        encoder += [nn.Conv2d(widths[-1], config.code_size, 1), nn.BatchNorm2d(config.code_size, affine=False)]
        decoder: list[nn.Module] = [nn.Conv2d(config.code_size, widths[-1], 1)]
        for width, following in zip(reversed(widths), (*reversed(widths[:-1]), None), strict=True):
            decoder += [ResidualBlock(width) for _ in range(config.blocks)]
            decoder += [Upsample(width, following)] if following else []
        decoder += [nn.BatchNorm2d(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 1, 3, padding=1)]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.codes = nn.Parameter(torch.randn(config.codes, config.code_size) / 2)

    def tokens(self, mask: Tensor) -> Tensor:
        """The tokens [N,L] int64 of masks [N,S,S] in 0..1, row by row of their grid."""
        return nearest(self._encoded(mask), self.codes).flatten(1)

    def mask(self, tokens: Tensor) -> Tensor:
        """The masks [N,S,S] in 0..1 of tokens [N,L]."""
        return self._decoded(self.codes[tokens.unflatten(1, (self.config.grid, -1))]).sigmoid()

    def losses(self, mask: Tensor) -> dict[str, Tensor]:
        """Scalar losses of masks [N,S,S] in 0..1: of the reconstruction, of the distances between encodings and their
        codes, and of the distances between all codes and the encodings nearest to them."""
        encoded = self._encoded(mask)
        codes = self.codes[nearest(encoded, self.codes)]
        straight = encoded + (codes - encoded).detach()
        points = encoded.detach().flatten(0, 2)
        return {
            "reconstruction": binary_cross_entropy_with_logits(self._decoded(straight), mask),
            "codebook": mse_loss(codes, encoded.detach()) + COMMITMENT * mse_loss(encoded, codes.detach()),
            # Without this loss, a code that is nearest to no encoding would never change.
            "unused": mse_loss(self.codes, points[nearest(self.codes, points)]),
        }

    def _encoded(self, mask: Tensor) -> Tensor:
        """[N,G,G,D] float32."""
        x = mask[:, None].contiguous(memory_format=torch.channels_last)
        return self.encoder(2 * x - 1).permute(0, 2, 3, 1).float()

    def _decoded(self, codes: Tensor) -> Tensor:
        """Logits [N,S,S] float32 of codes [N,G,G,D]."""
        return self.decoder(codes.permute(0, 3, 1, 2))[:, 0].float()


def nearest(points: Tensor, codes: Tensor) -> Tensor:
    """Index [...] int64 of the code in ``codes`` [K,D] that is nearest (L2) to each of ``points`` [...,D]."""
    with torch.autocast(points.device.type, enabled=False):
        distance = codes.square().sum(dim=1) - 2 * points @ codes.T
    return distance.argmin(dim=-1)
