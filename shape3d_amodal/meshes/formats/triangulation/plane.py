"""A polygon in its own plane, and areas in it."""

from __future__ import annotations

import numpy as np

_FLAT = 1e-6
"""A normal below this part of the sum of its parts has no direction that can be trusted."""


def in_its_plane(points: np.ndarray) -> np.ndarray:
    """The corners [n,2] float64 in the polygon's plane, seen from its front, about 1 across."""
    centred = points - points.mean(axis=0)
    centred = centred / max(float(np.abs(centred).max()), 1e-300)
    normal = np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0)
    if np.linalg.norm(normal) <= _FLAT * np.linalg.norm(np.cross(centred, np.roll(centred, -1, axis=0)), axis=1).sum():
        normal = np.linalg.svd(centred, full_matrices=False)[2][-1]  # its parts cancel out: the plane of least squares
    normal = normal / np.linalg.norm(normal)
    axis = np.eye(3)[np.abs(normal).argmin()]
    right = np.cross(axis, normal)
    right /= np.linalg.norm(right)
    return np.ascontiguousarray(np.stack([centred @ right, centred @ np.cross(normal, right)], axis=1))


def triangle_areas(flat: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The signed areas [T] of triangles of points [n,2]."""
    a, b, c = (flat[triangles[:, k]] for k in range(3))
    areas: np.ndarray = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    return areas


def outline_area(flat: np.ndarray) -> float:
    """The signed area within an outline [n,2]."""
    after = np.roll(flat, -1, axis=0)
    return float((flat[:, 0] * after[:, 1] - flat[:, 1] * after[:, 0]).sum() / 2)
