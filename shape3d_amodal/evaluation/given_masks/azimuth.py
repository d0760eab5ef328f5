"""Errors of azimuths that are known up to a category's frame and its symmetry.

A prior that is learned without camera labels chooses the frame of each category itself, so that its azimuths differ
from the annotated ones by an unknown angle, the same for all objects of the category. ``best_offset`` finds that one
angle: on the scored instances themselves, as is usual, or on other scenes, which is harder and has nothing to gain
from chance. A turn is all there is to find: the object frame is right-handed, and a mirrored azimuth would need
mirrored pictures. It cannot mend meshes of one category that were modelled in different frames; such categories show
low accuracy whatever the method does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WITHIN_DEG = 30.0
"""Azimuths with at most this error are right."""

SYMMETRY = {
    "bench": 2,
    "dresser": 2,
    "speaker": 2,
    "table": 2,
    "phone": 2,
    "lamp": 0,
}
"""Turns about the upright axis that a typical member of the category looks the same under, by its silhouette; 0: any.

Categories that are not named have 1: every azimuth is another. Mirror symmetry does not make azimuths ambiguous.
"""


def period(category: str) -> float:
    """Degrees after which the azimuths of a category repeat; 0 where every azimuth is right and none is scored."""
    turns = SYMMETRY.get(category, 1)
    return 360.0 / turns if turns else 0.0


def azimuth_error(
    predicted: NDArray[np.float64], true: NDArray[np.float64], offset: float, period_deg: float
) -> NDArray[np.float64]:
    """Degrees [N] between ``predicted`` + ``offset`` and ``true`` [N], modulo the period: 0 to half a period."""
    apart = (predicted + offset - true) % period_deg
    return np.minimum(apart, period_deg - apart)


def best_offset(predicted: NDArray[np.float64], true: NDArray[np.float64], period_deg: float) -> float:
    """The whole number of degrees that makes most azimuths right, and among equals the mean error least."""
    offsets = np.arange(int(period_deg))
    errors = np.stack([azimuth_error(predicted, true, float(offset), period_deg) for offset in offsets])
    right = (errors <= WITHIN_DEG).sum(axis=1)
    order = np.lexsort((errors.mean(axis=1), -right))
    return float(offsets[order[0]])
