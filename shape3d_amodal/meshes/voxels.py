"""Solid voxels of any triangle mesh, watertight or not, and distances between surfaces."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

RESOLUTION = 32
"""Voxels along each axis, as in the voxels of 3D-R2N2 and NMR."""
SURFACE_POINTS = 2048


def voxels(verts: NDArray[np.floating], faces: NDArray[np.integer], resolution: int = RESOLUTION) -> NDArray[np.bool_]:
    """The voxels that a mesh fills or whose inside its surface crosses.

    Filled are voxels at whose centre the winding number is above one half (or below minus one half: a mesh inside out).
    It is the mean over six rays along the axes of their crossings, counted with sign: exact for a closed mesh, also
    where closed parts overlap; for an open one an estimate of the share of directions that see its inside. Faces must
    be oriented alike. Cavities that are shut off from outside, such as the inside of a cabinet made of boards, are
    filled, as in the solid voxels of 3D-R2N2.

    Args:
        verts: [V,3], in the cube from -1/2 to 1/2; what lies outside is cut off.
        faces: [F,3].
        resolution: R, voxels along each axis of that cube.

    Returns:
        [R,R,R] bool, by x, y, z.
    """
    # Voxel k of an axis lies between k and k + 1; what lies on the cube's upper border belongs to the last one.
    triangles = (verts[faces].astype(np.float64) * (1 - 1e-9) + 0.5) * resolution
    winding = np.zeros((resolution,) * 3)
    for axis in range(3):
        turned = np.ascontiguousarray(np.roll(triangles, -axis, axis=2))
        winding += np.moveaxis(_crossings(turned, resolution), (0, 1, 2), [(axis + k) % 3 for k in range(3)]) / 3
    solid: NDArray[np.bool_] = ndimage.binary_fill_holes((np.abs(winding) > 0.5) | _crossed(triangles, resolution))
    return solid


def voxel_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two grids [R,R,R] bool, in 0..1; 1 where both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def to_unit_cube(verts: NDArray[np.floating]) -> NDArray[np.float64]:
    """Vertices [V,3] with their box centred at the origin and its longest side 1."""
    low, high = verts.min(axis=0).astype(np.float64), verts.max(axis=0).astype(np.float64)
    return (verts - (low + high) / 2) / max(float((high - low).max()), 1e-12)


def chamfer_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Mean of the two mean distances from each point of one set [N,3] to the nearest point of the other."""
    there, _ = cKDTree(second).query(first)
    back, _ = cKDTree(first).query(second)
    return float((there.mean() + back.mean()) / 2)


def face_areas(verts: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.float64]:
    """The area of each face [F]."""
    corners = verts[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas: NDArray[np.float64] = np.linalg.norm(normals, axis=1) / 2
    return areas


def surface_points(
    verts: NDArray[np.floating], faces: NDArray[np.integer], count: int = SURFACE_POINTS, seed: int = 0
) -> NDArray[np.float64]:
    """Points [count,3] on a mesh's surface, uniform by area; the same mesh and seed give the same points.

    At least one face must have an area. trimesh's ``sample_surface`` draws other points from the same seed, and its
    face areas differ in the last digit: published chamfer distances would change.
    """
    areas = face_areas(verts, faces)
    rng = np.random.default_rng(seed)
    chosen = verts[faces].astype(np.float64)[rng.choice(len(faces), count, p=areas / areas.sum())]
    u, v = rng.random((2, count, 1))
    inside = u + v <= 1
    u, v = np.where(inside, u, 1 - u), np.where(inside, v, 1 - v)
    points: NDArray[np.float64] = chosen[:, 0] + u * (chosen[:, 1] - chosen[:, 0]) + v * (chosen[:, 2] - chosen[:, 0])
    return points


@njit(cache=True)
def _crossings(triangles, resolution):  # type: ignore[no-untyped-def]
    """Mean signed crossings [R,R,R] of the two rays along the first axis from each voxel's centre, out of the mesh."""
    ahead = np.zeros((resolution, resolution, resolution))
    behind = np.zeros((resolution, resolution, resolution))
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        twice = (b[1] - a[1]) * (c[2] - a[2]) - (c[1] - a[1]) * (b[2] - a[2])
        if twice == 0.0:
            continue
        sign = 1.0 if twice > 0 else -1.0  # whether the face looks along the axis
        low_y, high_y = min(a[1], b[1], c[1]), max(a[1], b[1], c[1])
        low_z, high_z = min(a[2], b[2], c[2]), max(a[2], b[2], c[2])
        for j in range(max(0, int(np.ceil(low_y - 0.5))), min(resolution - 1, int(np.floor(high_y - 0.5))) + 1):
            for k in range(max(0, int(np.ceil(low_z - 0.5))), min(resolution - 1, int(np.floor(high_z - 0.5))) + 1):
                y, z = j + 0.5, k + 0.5
                # Points on a shared edge belong to one of its two faces: the half-open rule of rasterisers.
                if not (_left(a, b, y, z, sign) and _left(b, c, y, z, sign) and _left(c, a, y, z, sign)):
                    continue
                u = ((y - a[1]) * (c[2] - a[2]) - (c[1] - a[1]) * (z - a[2])) / twice
                v = ((b[1] - a[1]) * (z - a[2]) - (y - a[1]) * (b[2] - a[2])) / twice
                x = a[0] + u * (b[0] - a[0]) + v * (c[0] - a[0])
                split = min(max(int(np.ceil(x - 0.5)), 0), resolution)
                ahead[:split, j, k] += sign  # seen from these centres the face lies ahead and is left through
                behind[split:, j, k] -= sign
    return (ahead + behind) / 2


@njit(cache=True)
def _left(p, q, y, z, sign):  # type: ignore[no-untyped-def]
    """Whether (y, z) lies to the inner side of the edge from p to q, or on it if the edge owns its points."""
    side = sign * ((q[1] - p[1]) * (z - p[2]) - (y - p[1]) * (q[2] - p[2]))
    if side != 0.0:
        return side > 0.0
    dy, dz = sign * (q[1] - p[1]), sign * (q[2] - p[2])
    return dz > 0.0 or (dz == 0.0 and dy < 0.0)


@njit(cache=True)
def _crossed(triangles, resolution):  # type: ignore[no-untyped-def]
    """Voxels [R,R,R] that hold a point of a lattice on a face, whose points lie at most half a voxel apart."""
    grid = np.zeros((resolution, resolution, resolution), np.bool_)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        longest = max(np.abs(b - a).max(), np.abs(c - a).max(), np.abs(c - b).max())
        steps = max(1, int(np.ceil(2 * longest)))
        for i in range(steps + 1):
            for j in range(steps + 1 - i):
                point = a + (b - a) * (i / steps) + (c - a) * (j / steps)
                x, y, z = int(np.floor(point[0])), int(np.floor(point[1])), int(np.floor(point[2]))
                if min(x, y, z) >= 0 and max(x, y, z) < resolution:
                    grid[x, y, z] = True
    return grid
