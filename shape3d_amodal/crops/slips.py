"""Sloppy visible masks, as people and detectors draw them: too large, too small, or with a bite at the edge."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.structures import InstanceCrops, TensorBatch

EXACT, GROWN, SHRUNK, BITTEN = range(4)
_LEAST_PX = 0.5
_LEFT = 0.4
"""Least share of a visible mask that a slip leaves; a larger slip is not made."""
_BITE = 2.0
"""Radius of a bite, in amounts by which other masks grow or shrink."""


@dataclass(frozen=True, eq=False, repr=False)
class Slips(TensorBatch):
    """What happens to the visible masks of N crops.

    Attributes:
        kind: [N] int64, one of the above.
        amount: [N] float64, by how many crop pixels the edge moves.
        place: [N] float64 in 0..1, where along the edge pixels a bite has its middle.
    """

    kind: NDArray[np.int64]
    amount: NDArray[np.float64]
    place: NDArray[np.float64]

    @classmethod
    def draw(cls, generator: np.random.Generator, count: int, share: float, most_px: float) -> Slips | None:
        """Slips of a ``share`` of ``count`` crops, each kind as often as the others; None for a share of 0."""
        if share == 0:
            return None
        kind = np.where(generator.random(count) < share, generator.integers(GROWN, BITTEN + 1, count), EXACT)
        low = min(_LEAST_PX, most_px)
        return cls(kind, generator.uniform(low, most_px, count), generator.random(count))

    def of(self, crops: InstanceCrops) -> InstanceCrops:
        """N crops with such visible masks; what these lose counts as background, and nothing hides what they win."""
        visible = crops.visible.numpy().copy()
        for i in np.flatnonzero(self.kind != EXACT):
            visible[i] = _slipped(visible[i], int(self.kind[i]), float(self.amount[i]), float(self.place[i]))
        seen = torch.from_numpy(visible)
        return replace(crops, visible=seen, occluder=crops.occluder.minimum(1 - seen))


def _slipped(visible: NDArray[np.float32], kind: int, amount: float, place: float) -> NDArray[np.float32]:
    """A mask [S,S] of shares in 0..1 after a slip."""
    from scipy.ndimage import distance_transform_edt

    inside = visible > 0.5
    if not inside.any() or inside.all():
        return visible
    if kind == GROWN:
        return np.maximum(visible, distance_transform_edt(~inside) <= amount).astype(np.float32)
    depth = distance_transform_edt(inside)
    if kind == SHRUNK:
        kept = depth > amount
    else:
        rows, columns = np.nonzero(inside & (depth < 1.5))
        middle = int(place * len(rows))
        y, x = np.indices(visible.shape)
        kept = np.hypot(y - rows[middle], x - columns[middle]) > _BITE * amount
    if (kept & inside).sum() < _LEFT * inside.sum():
        return visible
    return (visible * kept).astype(np.float32)
