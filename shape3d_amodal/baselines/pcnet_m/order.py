"""Depth order: which instances of an image are in front of which, as a relation without cycles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shape3d_amodal.baselines.pcnet_m.windows import Mask, tight_box

Relation = NDArray[np.bool_]
"""[N,N]: whether instance j (the column) is in front of instance i (the row)."""


def neighbours(visible: Sequence[Mask], gap: int = 0) -> list[tuple[int, int]]:
    """The pairs i < j of masks [H,W] bool that overlap or touch, with at most ``gap`` pixels between them."""
    boxes = np.array([tight_box(mask) for mask in visible]).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    reach = 1 + gap
    pairs = []
    for i, mask in enumerate(visible):
        near = ((low[i + 1 :] <= high[i] + gap) & (low[i] <= high[i + 1 :] + gap)).all(axis=1)
        if not near.any():
            continue
        (x0, y0), (x1, y1) = np.maximum(low[i] - reach, 0), high[i] + reach
        about = np.s_[y0:y1, x0:x1]
        grown = ndimage.binary_dilation(mask[about], iterations=reach)
        pairs += [(i, j) for j in (np.flatnonzero(near) + i + 1).tolist() if (grown & visible[j][about]).any()]
    return pairs


def in_front(behind: NDArray[np.float64]) -> Relation:
    """The transitive relation of which instances are in front of which, without cycles.

    Each pair of instances is ordered by the larger of its two values, with their difference as the certainty; equal
    values leave it open. Pairs are added from the most certain one on, and one that would close a cycle is left out.

    Args:
        behind: [N,N] float, the evidence that instance i (the row) is behind instance j.
    """
    surplus = np.subtract(behind, behind.T, out=np.zeros_like(behind), where=behind > behind.T)  # not inf - inf
    rows, columns = np.nonzero(surplus > 0)
    reached = np.eye(len(behind), dtype=bool)
    for place in np.argsort(-surplus[rows, columns], kind="stable").tolist():
        i, j = rows[place], columns[place]
        if not reached[j, i]:
            reached |= np.outer(reached[:, i], reached[j])
    return reached & ~np.eye(len(behind), dtype=bool)
