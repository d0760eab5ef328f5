"""Which crops of a pool show the same shape, and how two of one shape come into a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.errors import UsageError


def tracks(track: NDArray[np.int64]) -> NDArray[np.str_]:
    """A name [N] for the shape of each crop: that of its track, or one of its own where the track [N] is -1."""
    numbers = np.asarray(track)
    own = np.char.add("crop ", np.arange(len(numbers)).astype(np.str_))
    return np.where(numbers < 0, own, np.char.add("track ", numbers.astype(np.str_)))


class ShapePairs:
    """The pool's crops by shape.

    Args:
        mesh: [N] str, the mesh of each crop of the pool, or another name of its shape.
        usable: the rows that may be drawn; None for all.
        what: what the names are of, for the error.

    Attributes:
        shape: [N] int64, number of each crop's shape.

    Raises:
        UsageError: no two crops are of the same shape.
    """

    def __init__(self, mesh: NDArray[np.str_], usable: NDArray[np.int64] | None = None, what: str = "mesh") -> None:
        if usable is not None and len(usable) < len(mesh):
            alone = np.char.add("unused ", np.arange(len(mesh)).astype(np.str_))
            mesh = np.where(np.isin(np.arange(len(mesh)), usable), mesh, alone)
        _, shape, count = np.unique(mesh, return_inverse=True, return_counts=True)
        self.shape: NDArray[np.int64] = shape.astype(np.int64)
        self._count = count
        self._sorted = np.argsort(self.shape, kind="stable")
        self._first = np.cumsum(count) - count  # of each mesh, in ``_sorted``
        self._place = np.empty_like(self._sorted)
        self._place[self._sorted] = np.arange(len(mesh))
        self._paired = np.nonzero(count[self.shape] > 1)[0]
        if not len(self._paired):
            remedy = "make more scenes" if what == "mesh" else "give track_id in the annotations"
            raise UsageError(f"train: expected crops of the same {what}, none of {len(mesh)} share one; {remedy}")

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
