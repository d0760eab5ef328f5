"""Voxels of any triangle mesh by the rule of NMR and SoftRas, so that numbers compare with those of their voxel files.

Surface: through every crossing of grid lines, along each of the three axes, a line is cut with every triangle; the
cells around the line at the depth of the cut are occupied, and so is the cell of each vertex. Solid: of the other
cells those that cannot be reached from the grid's border, over common faces, are occupied too. A closed surface is thus
filled and an open one is not: it encloses nothing. Kato et al., Neural 3D Mesh Renderer, CVPR 2018 (``voxelization``).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

RESOLUTION = 32


def nmr_voxels(verts: NDArray[np.floating], faces: NDArray[np.integer], size: int = RESOLUTION) -> NDArray[np.bool_]:
    """The cells that a mesh occupies.

    Args:
        verts: [V,3] in the cube from -1/2 to 1/2, which is scaled by (size - 1) / size, so that no cell is cut off.
        faces: [F,3].
        size: G, cells along each axis.

    Returns:
        [G,G,G] bool by y, x, z, all ascending: the order of NMR's files in our right-handed frame.
    """
    points = verts.astype(np.float64) * (size - 1) + size / 2
    surface = np.zeros((size, size, size), np.bool_)
    for axis in range(3):
        turned = np.roll(points, -axis, axis=1)  # the lines run along the first axis
        cut = _cut(turned[faces], size)
        surface |= np.moveaxis(cut, (0, 1, 2), ((axis) % 3, (axis + 1) % 3, (axis + 2) % 3))
    cells = np.floor(points[np.unique(faces)]).astype(np.int64)
    cells = cells[((cells >= 0) & (cells < size)).all(axis=1)]
    surface[tuple(cells.T)] = True
    solid: NDArray[np.bool_] = ndimage.binary_fill_holes(surface)
    return solid.transpose(1, 0, 2)


@njit(cache=True)
def _cut(triangles, size):  # type: ignore[no-untyped-def]
    """Cells [G,G,G] around the cuts of triangles [F,3,3] with the lines along the first axis at whole y and z."""
    grid = np.zeros((size, size, size), np.bool_)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        twice = (b[1] - a[1]) * (c[2] - a[2]) - (c[1] - a[1]) * (b[2] - a[2])
        if twice == 0.0:
            continue
        low_y, high_y = max(0.0, min(a[1], b[1], c[1])), min(size - 1.0, max(a[1], b[1], c[1]))
        low_z, high_z = max(0.0, min(a[2], b[2], c[2])), min(size - 1.0, max(a[2], b[2], c[2]))
        for y in range(int(np.ceil(low_y)), int(np.floor(high_y)) + 1):
            for z in range(int(np.ceil(low_z)), int(np.floor(high_z)) + 1):
                u = ((y - a[1]) * (c[2] - a[2]) - (c[1] - a[1]) * (z - a[2])) / twice
                v = ((b[1] - a[1]) * (z - a[2]) - (y - a[1]) * (b[2] - a[2])) / twice
                if u < 0.0 or v < 0.0 or u + v > 1.0:
                    continue
                x = int(np.floor(a[0] + u * (b[0] - a[0]) + v * (c[0] - a[0])))
                if 0 <= x < size:
                    for j in range(max(0, y - 1), y + 1):
                        for k in range(max(0, z - 1), z + 1):
                            grid[x, j, k] = True
    return grid
