"""The shape prior of VRSP: an auto-encoder of masks, and a codebook of the training shapes of each category."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn.functional import interpolate

from shape3d_amodal.config import Width, configuration
from shape3d_amodal.segmentation.roi_heads import MASK_SIZE

_ITERATIONS = 20
"""Rounds of k-means."""


@configuration
class ShapeMemoryConfig:
    convs: Literal[1, 2, 3] = 2
    """Convolutions of the encoder, each of which halves the side: 28, 14, 7, 4."""
    channels: Width = 8
    """Channels of the auto-encoder, and of a code."""
    codes: Width = 1024
    """Codes a category, at most."""


@configuration
class ShapesConfig:
    """The configuration of a trained prior; saved beside its weights."""

    categories: tuple[str, ...]
    """Names of the categories, in their order."""
    memory: ShapeMemoryConfig = ShapeMemoryConfig()
    """Its sizes."""


class ShapeMemory(nn.Module):
    """Encodes and decodes masks, and knows codes of each category.

    Attributes:
        codebook: [classes,codes,D] float32; of each category the first ``known`` codes are filled.
        known: [classes] int64.
    """

    def __init__(self, classes: int, config: ShapeMemoryConfig) -> None:
        super().__init__()
        width = config.channels
        self.sides = [MASK_SIZE]
        for _ in range(config.convs):
            self.sides.append((self.sides[-1] + 1) // 2)
        layers = [(nn.Conv2d(width if i else 1, width, 3, stride=2, padding=1), nn.ReLU()) for i in range(config.convs)]
        self.encoder = nn.Sequential(*(part for layer in layers for part in layer))
        self.decoder = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(config.convs))
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        self.register_buffer("codebook", torch.zeros(classes, config.codes, width * self.sides[-1] ** 2))
        self.codebook: Tensor
        self.register_buffer("known", torch.zeros(classes, dtype=torch.int64))
        self.known: Tensor

    def encode(self, masks: Tensor) -> Tensor:
        """Masks [R,28,28] in 0..1 to codes [R,D]."""
        codes: Tensor = self.encoder(masks[:, None]).flatten(1)
        return codes.float()

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [...,D] to masks [...,28,28] in 0..1."""
        maps = codes.reshape(-1, self.last.in_channels, self.sides[-1], self.sides[-1])
        for layer, side in zip(self.decoder, reversed(self.sides[:-1]), strict=True):
            maps = layer(interpolate(maps, size=side, mode="bilinear", align_corners=True)).relu()
        masks: Tensor = self.last(maps).float().sigmoid()
        return masks.reshape(*codes.shape[:-1], MASK_SIZE, MASK_SIZE)

    def nearest(self, codes: Tensor, category: Tensor, count: int) -> Tensor:
        """The ``count`` known codes of its category that are nearest (L2) to each of ``codes`` [R,D]: [R,count,D].

        A category with fewer codes repeats them, the nearest first; without any, each code is its own neighbour.
        """
        found = codes[:, None].repeat(1, count, 1)
        for one in category.unique().tolist():
            book = self.codebook[one, : int(self.known[one])]
            if len(book):
                rows = category == one
                order = torch.cdist(codes[rows], book).topk(min(count, len(book)), largest=False).indices
                found[rows] = book[order[:, torch.arange(count, device=order.device) % order.shape[1]]]
        return found

    def remember(self, codes: Tensor, category: Tensor, seed: int) -> None:
        """Fill the codebook with the k-means centres of each category's codes [N,D], or with these if they are few."""
        for one, book in enumerate(self.codebook):
            centres = codes[category == one].cpu().numpy()
            if len(centres) > len(book):
                generator = np.random.default_rng(seed)
                centres, _ = kmeans2(centres, len(book), iter=_ITERATIONS, minit="++", seed=generator)
            self.known[one] = len(centres)
            book[:] = 0
            book[: len(centres)] = torch.from_numpy(centres)
