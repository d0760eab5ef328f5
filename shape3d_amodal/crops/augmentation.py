"""What is done to crops at random before a network sees them: mirroring, stretching, other colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from shape3d_amodal.config import Positive, Share, configuration
from shape3d_amodal.structures import SupervisedCrops, TensorBatch


@configuration
class AugmentationConfig:
    """How strongly crops are changed; each change comes to a share of them."""

    warp: float = 0.5
    """Share of the crops that are stretched and turned in the image plane."""
    stretch: float = 0.2
    """Largest logarithm of the stretch of each axis."""
    turn_deg: float = 6.0
    """Largest turn, in degrees."""
    sloppy: Share = 0.0
    """Share of the crops whose visible mask is drawn carelessly: too large, too small, or bitten at its edge. The prior
    learns from these, too, but is judged by the careful masks, except in end_to_end."""
    sloppy_px: Positive = 2.0
    """By how many pixels of the crop the edge of a careless mask is off, at most."""


@dataclass(frozen=True, eq=False, repr=False)
class Augmentation(TensorBatch):
    """What is done to N crops.

    Attributes:
        matrix: [N,2,2] float32, linear maps about the crops' centres.
        channels: [N,3] int64, which channel of colour each one becomes.
        gain: [N,3,1,1] float32, by which the colours are multiplied.
    """

    matrix: NDArray[np.float32]
    channels: NDArray[np.int64]
    gain: NDArray[np.float32]

    @classmethod
    def draw(cls, generator: np.random.Generator, count: int, config: AugmentationConfig | None = None) -> Augmentation:
        """Mirror half of the crops; warp, permute and scale the colours of some.

        Args:
            config: how strongly; None does not warp.
        """
        matrix = np.tile(np.eye(2, dtype=np.float32), (count, 1, 1))
        matrix[:, 0, 0] = np.where(generator.random(count) < 0.5, -1, 1)
        if config is not None:
            matrix = _warps(generator, count, config) @ matrix
        some = [generator.permutation(3) if generator.random() < 0.5 else np.arange(3) for _ in range(count)]
        return cls(matrix, np.stack(some), generator.uniform(0.8, 1.2, (count, 3, 1, 1)).astype(np.float32))

    def of(self, batch: SupervisedCrops) -> SupervisedCrops:
        """N crops so changed; all that is drawn over them (masks, silhouettes) moves with them."""
        moved = _moved(batch, self.matrix)
        rows = torch.arange(len(self.channels))[:, None]
        rgb: Tensor = moved.crops.rgb[rows, torch.from_numpy(self.channels)] * torch.from_numpy(self.gain)
        return replace(moved, crops=replace(moved.crops, rgb=rgb.clamp(0, 1)))


def _warps(generator: np.random.Generator, count: int, config: AugmentationConfig) -> NDArray[np.float32]:
    """Stretch along x and y after a turn, [N,2,2]; the identity for those that are left alone."""
    some = (generator.random(count) < config.warp).astype(np.float32)
    angle = some * np.radians(generator.uniform(-config.turn_deg, config.turn_deg, count))
    stretch = np.exp(some[:, None] * generator.uniform(-config.stretch, config.stretch, (count, 2)))
    rows = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn: NDArray[np.float64] = np.array(rows).transpose(2, 0, 1)
    return (stretch[:, :, None] * turn).astype(np.float32)


def _moved(batch: SupervisedCrops, matrix: NDArray[np.float32]) -> SupervisedCrops:
    """``batch`` as the linear maps ``matrix`` [N,2,2], about the crops' centres, show it."""
    theta = torch.cat([torch.from_numpy(matrix), torch.zeros(len(matrix), 2, 1)], dim=2)
    channels = batch.channels()
    grid = affine_grid(theta, [len(matrix), 1, batch.crops.size, batch.crops.size], align_corners=False)
    # Beyond a crop goes on what is at its border: background stays background, and what may hide may go on hiding.
    return batch.with_channels(grid_sample(channels, grid, padding_mode="border", align_corners=False))
