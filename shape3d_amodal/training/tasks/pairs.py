"""Which crops of a pool show the same mesh, and how two of one mesh come into a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.errors import UsageError


class ShapePairs:
    """The pool's crops by mesh.

    Args:
        mesh: [N] str, the mesh of each crop of the pool.

    Attributes:
        shape: [N] int64, number of each crop's mesh.

    Raises:
        UsageError: no two crops are of the same mesh.
    """

    def __init__(self, mesh: NDArray[np.str_]) -> None:
        _, shape, count = np.unique(mesh, return_inverse=True, return_counts=True)
        self.shape: NDArray[np.int64] = shape.astype(np.int64)
        self._count = count
        self._sorted = np.argsort(self.shape, kind="stable")
        self._first = np.cumsum(count) - count  # of each mesh, in ``_sorted``
        self._place = np.empty_like(self._sorted)
        self._place[self._sorted] = np.arange(len(mesh))
        self._paired = np.nonzero(count[self.shape] > 1)[0]
        if not len(self._paired):
            raise UsageError(f"train: expected crops of the same mesh, none of {len(mesh)} share one; make more scenes")

    def drawn_into(self, rows: NDArray[np.int64], share: float, generator: np.random.Generator) -> NDArray[np.int64]:
        """``rows`` [M] with the first ``share`` of them (0..1) replaced by pairs, which stand side by side.

        So parts of an even number of rows, as ranks and accumulation make them, cut no pair.
        """
        count = round(share * len(rows)) // 2
        first = self._paired[generator.integers(len(self._paired), size=count)]
        shape = self.shape[first]
        start, members = self._first[shape], self._count[shape]
        place = (self._place[first] - start + generator.integers(1, members)) % members
        second = self._sorted[start + place]  # another crop, any, of the same mesh
        pairs = np.stack([first, second], axis=1).reshape(-1)
        return np.concatenate([pairs, rows[2 * count :]])
