"""Who is in front of whom: a graph over the instances of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shape3d_amodal.baselines.pcnet_m.windows import Mask, tight_box

Relation = NDArray[np.bool_]
"""[N,N]: whether instance j (the column) is in front of instance i (the row)."""


def neighbours(visible: Sequence[Mask], gap: int = 0) -> list[tuple[int, int]]:
    """The pairs i < j of masks [H,W] that share a pixel or touch, with at most ``gap`` pixels in between."""
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
    """All that are in front of each instance, directly or through others: transitive and without cycles.

    Args:
        behind: [N,N], how much speaks for instance i (the row) being behind j. Of what speaks for one of two being
            behind the other and for the reverse, the larger counts, by the difference; equal values say nothing.

    The pairs are entered from the one with the largest difference on; one that would close a cycle is left out.
    """
    surplus = np.subtract(behind, behind.T, out=np.zeros_like(behind), where=behind > behind.T)  # not inf - inf
    rows, columns = np.nonzero(surplus > 0)
    reached = np.eye(len(behind), dtype=bool)
    for place in np.argsort(-surplus[rows, columns], kind="stable").tolist():
        i, j = rows[place], columns[place]
        if not reached[j, i]:
            reached |= np.outer(reached[:, i], reached[j])
    return reached & ~np.eye(len(behind), dtype=bool)


def ranks(front: Relation) -> NDArray[np.int64]:
    """Depth order [N] from near (0) to far: the number of instances in front, as ``in_front`` gives them."""
    result: NDArray[np.int64] = front.sum(axis=1)
    return result
