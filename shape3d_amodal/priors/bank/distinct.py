"""Which poses are one: those that differ by little, or by a symmetry of the mesh."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.meshes.symmetries import Motions, symmetry_motions
from shape3d_amodal.priors.bank.keeping import kept_of_mesh
from shape3d_amodal.priors.bank.poses import DISTANCE, SCALE, Poses, U, V

SAME_TURN = 0.05
"""Two poses of a mesh are one if they differ by less than this in rotation (radians),"""
SAME_DISTANCE = 0.1
"""in log-distance,"""
SAME_SCALE = 0.04
"""in log-scale,"""
SAME_PLACE = 0.04
"""and in place, in units of the object."""
_STEP_DEG = 5.0
"""Step between the turns of a round body: no turn is farther from one than half of it, which is less than SAME_TURN."""
_BALL = 500
"""Of a ball there are more symmetries: it looks the same after any turn about its middle."""
_VERSION = 1
"""To be raised when the same mesh gives other symmetries."""


def kept_symmetries(verts: NDArray[np.float32], faces: NDArray[np.int64], cache: Path | None) -> Motions:
    """The symmetries of a mesh, from ``cache`` where they are known."""

    def make() -> dict[str, NDArray[Any]]:
        found = symmetry_motions(verts, faces, step_deg=_STEP_DEG)
        return {"rotations": found.rotations, "translations": found.translations}

    return Motions(**kept_of_mesh(f"symmetries {_VERSION}", ("rotations", "translations"), verts, faces, make, cache))


def distinct(poses: Poses, symmetries: Callable[[int], Motions], count: int) -> Poses:
    """The first ``count`` poses, at most, that are not one with an earlier one.

    Args:
        poses: the best first.
        symmetries: those of each mesh, by its index.
    """
    chosen: list[int] = []
    for i in range(len(poses)):
        if len(chosen) == count:
            break
        alike = [j for j in chosen if poses.mesh[j] == poses.mesh[i]]
        if not alike or not _are_one(poses.rows[alike], poses.rows[i], symmetries(int(poses.mesh[i]))).any():
            chosen.append(i)
    return poses[np.array(chosen)]


def _are_one(rows: NDArray[np.float32], row: NDArray[np.float32], symmetries: Motions) -> NDArray[np.bool_]:
    """[K]: whether poses [K,POSE] of a mesh are one with another one, [POSE]."""
    rows, row = rows.astype(np.float64), row.astype(np.float64)
    close = (np.abs(np.log(rows[:, DISTANCE] / row[DISTANCE])) < SAME_DISTANCE) & (
        np.abs(np.log(rows[:, SCALE] / row[SCALE])) < SAME_SCALE
    )
    rotation, other = rows[:, :9].reshape(-1, 1, 3, 3), row[:9].reshape(3, 3)
    turned = rotation @ symmetries.rotations  # [K,S,3,3]: x goes to R (S x + t) + origin
    moved = np.einsum("kij,sj->ksi", rotation[:, 0], symmetries.translations)
    apart = (rows[:, None, [U, V]] - row[[U, V]]) / row[SCALE] + moved[..., :2]
    cosine = (np.einsum("ksij,ij->ks", turned, other) - 1) / 2
    near = np.linalg.norm(apart, axis=-1) < SAME_PLACE
    same: NDArray[np.bool_] = (near & ((cosine > math.cos(SAME_TURN)) | (len(symmetries) > _BALL))).any(axis=1)
    return close & same
