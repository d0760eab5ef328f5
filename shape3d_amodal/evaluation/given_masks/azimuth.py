"""Errors of azimuths that are known only up to the frame of their category and its symmetry.

A prior that is learned without camera labels chooses the frame of each category itself, so its azimuths differ from the
annotated ones by an unknown angle, which is the same for all objects of the category. ``best_offset`` finds this angle,
either on the scored instances themselves, as is usual, or on other scenes, which is the stricter test. Only a turn has
to be found: the object frame is right-handed, and mirrored azimuths would need mirrored images. A turn cannot correct
meshes of one category that were modelled in different frames; such categories have a low accuracy with any method.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WITHIN_DEG = 30.0
"""Azimuths with at most this error are right."""

SYMMETRY = {"bench": 2, "dresser": 2, "speaker": 2, "table": 2, "phone": 2, "lamp": 0}
"""In how many azimuths a typical object of the category has the same silhouette; 0 means in all of them.

Other categories have 1, no symmetry. Mirror symmetry does not make azimuths ambiguous.
"""


def period(category: str) -> float:
    """Degrees after which the azimuths of a category repeat; 0 if all azimuths are right, so that none is scored."""
    turns = SYMMETRY.get(category, 1)
    return 360.0 / turns if turns else 0.0


def azimuth_error(
    predicted: NDArray[np.float64], true: NDArray[np.float64], offset: float, period_deg: float
) -> NDArray[np.float64]:
    """The errors [N] of ``predicted`` [N] + ``offset`` against ``true`` [N] modulo ``period_deg``, all in degrees."""
    apart = (predicted + offset - true) % period_deg
    return np.minimum(apart, period_deg - apart)


def best_offset(predicted: NDArray[np.float64], true: NDArray[np.float64], period_deg: float) -> float:
    """The offset in whole degrees with which most azimuths [N] are right; among equals that of the least mean error."""
    errors = np.stack([azimuth_error(predicted, true, offset, period_deg) for offset in range(int(period_deg))])
    right = (errors <= WITHIN_DEG).sum(axis=1)
    return float(np.lexsort((errors.mean(axis=1), -right))[0])
