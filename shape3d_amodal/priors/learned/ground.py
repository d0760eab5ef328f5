"""A level camera and objects that stand on the ground: the row in which an object is seen tells its elevation.

The camera sees an object from above by the angle at which it looks down on it: that of the ray through the object's
middle, below the horizon.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shape3d_amodal.structures import Viewpoint


def looking_down(windows: NDArray[np.float32], intrinsics: NDArray[np.float64]) -> Tensor:
    """Of N windows the slope of the ray through the middle, and by how much it changes up to the upper border.

    Args:
        windows: [N,4], (x0, y0, x1, y1) in image pixels.
        intrinsics: [N,4], fx, fy, cx, cy in pixels, NaN where not known.

    Returns:
        [N,2] float32, tangents of angles below the horizon; NaN where no camera is known.
    """
    x0, y0, x1, y1 = np.asarray(windows, np.float64).T
    fx, fy, cx, cy = np.asarray(intrinsics, np.float64).T
    along = np.hypot(1, ((x0 + x1) / 2 - cx) / fx)  # the ray's length on the ground, at a depth of 1
    slopes = np.stack([((y0 + y1) / 2 - cy) / fy / along, (y1 - y0) / 2 / fy / along], axis=1)
    return torch.from_numpy(slopes.astype(np.float32))


def ground_errors(views: Viewpoint, slopes: Tensor, max_elevation: float) -> Tensor:
    """Squared differences [N,J] of elevations from what the ground says, in radians; 0 where no camera is known.

    Args:
        views: [N,J]; their offsets say where in the window the middle of the object lies, and learn nothing here.
        slopes: [N,2], ``looking_down``.
        max_elevation: elevations lie between 0 and this, in radians.
    """
    middle, reach = slopes[:, :1], slopes[:, 1:]
    told = torch.atan(middle - views.offset[..., 1].detach() * reach).clamp(0, min(max_elevation, math.pi / 2))
    known = told.isfinite()
    return (views.elevation - told.nan_to_num(0.0)).pow(2) * known
