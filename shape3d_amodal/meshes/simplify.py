"""Fewer faces for silhouettes, by vertex clustering (Rossignac & Borrel, 1993)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CELLS = tuple(round(128 / 2 ** (step / 2)) for step in range(9))
"""Grids that are tried, the finest first: 128 to 8 cells along the longest side."""


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
    cell = np.floor((np.clip(verts, low, used.max(axis=0)) - low) / max(side, 1e-12)).astype(np.int64)
    _, cluster = np.unique(_keys(cell, cells + 1), return_inverse=True)
    corners = cluster[faces.astype(np.int64)]
    a, b, c = corners.T
    corners = corners[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(_keys(np.sort(corners, axis=1), len(verts)), return_index=True)
    corners = corners[np.sort(first)]
    kept, renumbered = np.unique(corners, return_inverse=True)
    count = np.bincount(cluster)
    mean = np.stack([np.bincount(cluster, verts[:, axis]) / count for axis in range(3)], axis=1)
    return mean[kept].astype(np.float32), renumbered.reshape(-1, 3).astype(np.int64)


def _keys(triples: NDArray[np.int64], base: int) -> NDArray[np.int64]:
    """A number for each row [N,3] of integers below ``base``: sorting these is far faster than sorting rows."""
    keys: NDArray[np.int64] = (triples[:, 0] * base + triples[:, 1]) * base + triples[:, 2]
    return keys


def reduce_faces(
    verts: NDArray[np.float32], faces: NDArray[np.int32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cluster vertices [V,3] and faces [F,3], one or more, as finely as ``count`` faces allow: thin parts would vanish.

    Returns:
        As ``cluster_vertices``; more than ``count`` faces only at the coarsest grid, or where the next coarser one
        would leave none, as for a mesh of wires.
    """
    finest = cluster_vertices(verts, faces, _CELLS[0])
    result = finest if len(finest[1]) else (verts, faces.astype(np.int64))
    for cells in _CELLS[1:]:
        if len(result[1]) <= count:
            break
        coarser = cluster_vertices(verts, faces, cells)
        if len(coarser[1]) == 0:
            break
        result = coarser
    return result
