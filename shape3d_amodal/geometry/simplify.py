"""Fewer faces for silhouettes, by vertex clustering (Rossignac & Borrel, 1993)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cluster_vertices(
    verts: NDArray[np.float32], faces: NDArray[np.int32], cells: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Merge the vertices that share a cell of a regular grid into their mean.

    No vertex moves by more than a cell's diagonal, so neither does the silhouette. Holes stay where they are wider than
    a cell, which edge collapses do not promise for meshes of loose parts.

    Args:
        verts: [V,3] float32.
        faces: [F,3] integers.
        cells: cells along the longest side of the bounding box.

    Returns:
        Vertices [V',3] float32, in use, and faces [F',3] int64: none with a vertex twice, no two of the same corners.
    """
    used = verts[np.unique(faces)]
    low = used.min(axis=0)
    side = float((used.max(axis=0) - low).max()) / cells
    cell = np.floor((verts - low) / max(side, 1e-12)).astype(np.int64)
    _, cluster = np.unique(cell, axis=0, return_inverse=True)
    cluster = cluster.reshape(-1)
    corners = cluster[faces.astype(np.int64)]
    a, b, c = corners.T
    corners = corners[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(np.sort(corners, axis=1), axis=0, return_index=True)
    corners = corners[np.sort(first)]
    kept, renumbered = np.unique(corners, return_inverse=True)
    count = np.bincount(cluster)
    mean = np.stack([np.bincount(cluster, verts[:, axis]) / count for axis in range(3)], axis=1)
    return mean[kept].astype(np.float32), renumbered.reshape(-1, 3).astype(np.int64)
