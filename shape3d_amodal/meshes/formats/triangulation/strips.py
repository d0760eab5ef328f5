"""Triangle strips and fans to triangles, which face the same way along the strip."""

from __future__ import annotations

import numpy as np

from shape3d_amodal.meshes.formats.mesh_data import cap_faces


def strip_triangles(indices: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The triangles [T,3] int64 of strips; those with a corner twice, by which strips are joined, are left out.

    Args:
        indices: [N] int64, the strips one after the other; a negative one starts a new strip.
        sizes: [S] int64, how many each strip has.
    """
    if len(indices) < 3:
        return np.zeros((0, 3), np.int64)
    cap_faces(len(indices))
    new = np.zeros(len(indices) + 1, bool)
    new[np.cumsum(sizes) - sizes] = True
    new = new[:-1]
    new[1:] |= indices[:-1] < 0
    place = np.arange(len(indices))
    step = place - np.maximum.accumulate(np.where(new, place, 0))  # the number in its strip
    triangles = np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=1)
    odd = step[:-2] % 2 == 1
    triangles[odd] = triangles[odd][:, [0, 2, 1]]
    a, b, c = triangles.T
    whole = (step[2:] == step[:-2] + 2) & (triangles >= 0).all(axis=1)
    return triangles[whole & (a != b) & (b != c) & (c != a)]


def fan_triangles(indices: np.ndarray) -> np.ndarray:
    """The triangles [N-2,3] int64 of one fan."""
    if len(indices) < 3:
        return np.zeros((0, 3), np.int64)
    first = np.full(len(indices) - 2, indices[0])
    return np.stack([first, indices[1:-1], indices[2:]], axis=1)
