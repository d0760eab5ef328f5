"""Outlines of polygons, and what they enclose after shapely and a count of crossed edges."""

from __future__ import annotations

import numpy as np
import shapely


def enclosed(flat: np.ndarray) -> list[shapely.Polygon]:
    """The faces within the outline [n,2] that are enclosed an odd number of times."""
    lines = shapely.node(shapely.LineString(np.concatenate([flat, flat[:1]])))
    faces = shapely.polygonize([lines]).geoms
    return [face for face in faces if is_enclosed(flat, *face.representative_point().coords[0])]


def is_enclosed(flat: np.ndarray, x: float, y: float) -> bool:
    """Whether a ray from x, y to the right crosses an odd number of edges."""
    after = np.roll(flat, -1, axis=0)
    met = (flat[:, 1] > y) != (after[:, 1] > y)
    start, end = flat[met], after[met]
    at = start[:, 0] + (y - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return int((at > x).sum()) % 2 == 1


def assert_covers(triangles: np.ndarray, faces: list[shapely.Polygon]) -> None:
    """The triangles [T,3,2] cover the union of ``faces``, which do not overlap, and each place once."""
    parts = [shapely.Polygon(corners) for corners in triangles]
    area = sum(face.area for face in faces)
    scale = max(area, 1e-3)
    assert abs(sum(part.area for part in parts) - area) < 1e-7 * scale
    grid = 1e-10 * float(np.abs(triangles).max(initial=1.0))
    union = shapely.union_all(parts, grid_size=grid)
    assert union.symmetric_difference(shapely.union_all(faces, grid_size=grid), grid_size=grid).area < 1e-6 * scale


def plane_axes(seed: int) -> np.ndarray:
    """Two random directions [2,3] that are orthonormal."""
    axes: np.ndarray = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0][:2]
    return axes
