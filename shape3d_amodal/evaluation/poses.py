"""Errors of poses, as BOP defines them (Hodan et al., ECCV 2018 and ECCVW 2020), and recalls over thresholds.

A pose of a symmetric model is right in several ways: MSSD, MSPD and the rotation error take the nearest of them. The
``symmetries`` are motions x -> R x + t of the model's own coordinates after which it looks the same, one of them the
identity. Points and translations are in one unit; errors are in that unit, in pixels or in degrees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from shape3d_amodal.meshes.symmetries import Motions
from shape3d_amodal.rendering.posed import Intrinsics, to_camera, to_image
from shape3d_amodal.structures import Pose

ADD_SHARE = 0.1
"""A pose is right by ADD or ADD-S if the error is below this share of the diameter (Hinterstoisser et al., 2012)."""
MSSD_SHARES = tuple(k * 0.05 for k in range(1, 11))
"""Thresholds of MSSD, as shares of the diameter."""
MSPD_PIXELS = tuple(5.0 * k for k in range(1, 11))
"""Thresholds of MSPD in pixels of an image that is ``MSPD_WIDTH`` wide; in others they grow with the width."""
MSPD_WIDTH = 640

Points = NDArray[np.float64]


def add(estimate: Pose, truth: Pose, points: Points) -> float:
    """ADD: the mean distance of the model's ``points`` [V,3] in one pose from themselves in the other."""
    return float(_distances(to_camera(points, estimate), to_camera(points, truth)).mean())


def add_s(estimate: Pose, truth: Pose, points: Points) -> float:
    """ADD-S (ADI): the mean distance of each of ``points`` [V,3] in the true pose from the nearest in the other."""
    nearest, _ = cKDTree(to_camera(points, estimate)).query(to_camera(points, truth))
    return float(nearest.mean())


def mssd(estimate: Pose, truth: Pose, points: Points, symmetries: Motions) -> float:
    """Maximum symmetry-aware surface distance: the largest distance of ``points`` [V,3], in the nearest true pose."""
    found = to_camera(points, estimate)
    return min(float(_distances(found, true).max()) for true in _true_points(truth, points, symmetries))


def mspd(estimate: Pose, truth: Pose, points: Points, symmetries: Motions, intrinsics: Intrinsics) -> float:
    """Maximum symmetry-aware projection distance in pixels: the largest distance of the projections of ``points``.

    Infinity if a point is not in front of the camera.

    Args:
        points: [V,3].
        intrinsics: fx, fy, cx, cy in pixels.
    """
    found = to_image(to_camera(points, estimate), intrinsics)
    if not (found[:, 2] > 0).all():
        return float("inf")
    seen = (to_image(true, intrinsics)[:, :2] for true in _true_points(truth, points, symmetries))
    return min(float(_distances(found[:, :2], true).max()) for true in seen)


def rotation_error(estimate: Pose, truth: Pose, symmetries: Motions) -> float:
    """The least angle in degrees, 0 to 180, that turns the estimated pose into a true one.

    It is taken from the distance of the two matrices, 2 sqrt(2) sin(angle / 2), which is 0 for equal ones, even if they
    are no exact rotations, as many of LM-O are not.
    """
    found, true = (np.array(pose.rotation, np.float64).reshape(3, 3) for pose in (estimate, truth))
    least = float(np.linalg.norm(found - true @ symmetries.rotations, axis=(1, 2)).min())
    return math.degrees(2 * math.asin(min(1.0, least / math.sqrt(8))))


def recall(errors: NDArray[np.float64], thresholds: tuple[float, ...]) -> NDArray[np.float64]:
    """Of each error [N] the share [N] of ``thresholds`` that it is below; NaN for an error of NaN."""
    below = errors[:, None] < np.array(thresholds)
    return np.where(np.isnan(errors), np.nan, below.mean(axis=1))


def _true_points(truth: Pose, points: Points, symmetries: Motions) -> Iterator[Points]:
    """The points [V,3] in the camera frame, in each of the true poses."""
    for rotation, translation in zip(symmetries.rotations, symmetries.translations, strict=True):
        yield to_camera(points @ rotation.T + translation, truth)


def _distances(first: Points, second: Points) -> NDArray[np.float64]:
    """Distances [V] of points [V,D] of equal rows."""
    distances: NDArray[np.float64] = np.linalg.norm(first - second, axis=1)
    return distances
