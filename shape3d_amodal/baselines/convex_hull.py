"""Convex hull of the visible mask: the strongest completion that needs neither category nor training data.

Most objects are nearly convex, so the hull recovers a good part of what is hidden between visible pixels, but nothing
beyond them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.masks.occlusion import known_order, occluders
from shape3d_amodal.methods.results import Mask, completion_result
from shape3d_amodal.structures import AmodalImage


class ConvexHull:
    """The hull of the visible mask without known background.

    Args:
        background: leave out known background, where the object would be visible: pixels that belong neither to its
            visible mask nor to another instance that may be in front of it. False keeps the plain hull.
    """

    parameters = 0

    def __init__(self, *, background: bool = True) -> None:
        self._background = background
        self.name = "convex hull" if background else "convex hull, plain"

    def complete(self, _image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.CompletionMethod``; the image is not used."""
        visible = [masks.decode(instance.visible) for instance in record.instances]
        hulls = [convex_hull(mask) for mask in visible]
        if self._background:
            in_front = occluders(visible, known_order(record))
            hulls = [hull & (mask | front) for hull, mask, front in zip(hulls, visible, in_front, strict=True)]
        return [
            completion_result(record, instance, hull) for instance, hull in zip(record.instances, hulls, strict=True)
        ]


def convex_hull(mask: Mask) -> Mask:
    """The pixels [H,W] bool whose centres lie in the convex hull of the centres of the pixels of ``mask`` [H,W] bool.

    It contains ``mask``; an empty mask has an empty hull.
    """
    rows = np.nonzero(mask.any(axis=1))[0]
    hull = np.zeros_like(mask)
    if not len(rows):
        return hull
    # As functions of the row, the hull's left side is the convex envelope of the first columns, and its right side the
    # concave envelope of the last ones.
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    inside = np.arange(rows[0], rows[-1] + 1)
    left = _convex_envelope(rows, first, inside)
    right = -_convex_envelope(rows, -last, inside)
    columns = np.arange(mask.shape[1])
    # Envelopes are fractions with denominators below the image's height, so the tolerance only absorbs rounding.
    hull[inside] = (columns >= left[:, None] - 1e-6) & (columns <= right[:, None] + 1e-6)
    return hull


def _convex_envelope(x: NDArray[np.int64], y: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """The largest convex function below the points (x, y), x ascending (Andrew's monotone chain), at ``at`` [M]."""
    chain: list[tuple[int, int]] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    xs, ys = zip(*chain, strict=True)
    return np.interp(at, xs, ys)


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    """Positive if the path a, b, c turns to the left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
