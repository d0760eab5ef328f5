"""Rotations after which a mesh looks the same, found from its surface alone.

Tried are turns about the axes of the bounding box and the principal axes of the surface, all through the middle of the
surface, which every symmetry leaves where it is. A turn is accepted if it moves no point of the surface farther away
from the surface than a tolerance. What follows from accepted turns, one after the other, is tried, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.meshes.voxels import surface_points

TOLERANCE = 0.02
"""Largest distance between a mesh and the turned mesh, as a share of the bounding box's diagonal."""
STEP_DEG = 10.0
"""Largest step between the turns of a body of revolution."""
BALL_STEP_DEG = 10.0
"""Least step between the turns of a ball, of which there are thousands."""
FOLDS = (2, 3, 4, 5, 6, 8)
"""Parts of a full turn that are tried: one half, one third, and so on."""

_PROBES = tuple(math.radians(degrees) for degrees in (17, 41, 73, 101, 137))
"""Turns that no regular shape of up to 8 sides shares: a body that looks the same after all of them is round."""
_APART = math.radians(20)
"""Axes and rotations nearer than this are taken for one; different ones of ``FOLDS`` are 45 degrees apart or more."""
_DENSE, _TRIED = 50_000, 2_000

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Motions(ArrayFields):
    """S rigid motions, x goes to R x + t: ``rotations`` [S,3,3] and ``translations`` [S,3], both float64."""

    rotations: Array
    translations: Array

    def __len__(self) -> int:
        return len(self.rotations)


def symmetry_motions(
    verts: NDArray[np.floating],
    faces: NDArray[np.integer],
    *,
    tolerance: float = TOLERANCE,
    step_deg: float = STEP_DEG,
) -> Motions:
    """The rotations of ``symmetry_rotations`` as motions of the mesh's own coordinates, about its surface's middle."""
    rotations = symmetry_rotations(verts, faces, tolerance=tolerance, step_deg=step_deg)
    middle = surface_points(verts, faces, _DENSE).mean(axis=0)
    return Motions(rotations, middle - rotations @ middle)


def symmetry_rotations(
    verts: NDArray[np.floating],
    faces: NDArray[np.integer],
    *,
    tolerance: float = TOLERANCE,
    step_deg: float = STEP_DEG,
) -> Array:
    """Rotations [K,3,3] about the middle of a mesh's surface after which it looks the same; the first is the identity.

    A round body has a rotation every ``step_deg`` about its axis, a ball about every axis. Mirror images are no
    rotations, and are not looked for.

    Args:
        verts: [V,3], any unit.
        faces: [F,3]; at least one must have an area.
        tolerance: as ``TOLERANCE``; differences that are smaller, such as a label or a groove, are overlooked. Below
            0.01 the gaps between the points that stand for the surface decide.
        step_deg: largest step in degrees between the turns of a round body; of a ball at least ``BALL_STEP_DEG``.
    """
    surface = _Surface(verts, faces, tolerance)
    round_axes, turns, known = [], [], list[Array]()
    for axis in _candidates(surface.points):
        if any(_angle_between(axis, other) < _APART for other in known):
            continue
        if all(surface.looks_the_same(turn(axis, angle)) for angle in _PROBES):
            round_axes.append(axis)
            known.append(axis)
        elif own := [one for n in FOLDS if surface.looks_the_same(one := turn(axis, 2 * math.pi / n))]:
            turns += own
            known.append(axis)
    count = math.ceil(360 / step_deg - 1e-9)
    if len(round_axes) > 1:
        return _all_directions(min(count, round(360 / BALL_STEP_DEG)))
    if not round_axes:
        return np.stack(_combined(turns, surface))
    about = np.stack([turn(round_axes[0], 2 * math.pi * k / count) for k in range(count)])
    return np.concatenate([about, about @ turns[0]]) if turns else about  # turned over, a round body has one other side


def turn(axis: Array, angle: float) -> Array:
    """The rotation [3,3] by ``angle`` (radians, right-handed) about the unit vector ``axis`` [3] (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: Array = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return rotation


def rotation_angle(rotations: Array) -> Array:
    """By how much rotations [...,3,3] turn, in radians from 0 to pi, [...]."""
    cosine = (np.trace(rotations, axis1=-2, axis2=-1) - 1) / 2
    angle: Array = np.arccos(np.clip(cosine, -1, 1))
    return angle


class _Surface:
    """Points on a surface, about its middle.

    Attributes:
        points: [N,3], many, even by area.
    """

    def __init__(self, verts: NDArray[np.floating], faces: NDArray[np.integer], tolerance: float) -> None:
        corners = verts[np.unique(faces)].astype(np.float64)
        diagonal = float(np.linalg.norm(corners.max(axis=0) - corners.min(axis=0)))
        dense, tried = surface_points(verts, faces, _DENSE), surface_points(verts, faces, _TRIED, seed=1)
        middle = dense.mean(axis=0)
        self.points = dense - middle
        self._tree = cKDTree(np.concatenate([dense, corners]) - middle)
        # Corners move farthest; of many a part will do.
        some = np.random.default_rng(0).permutation(len(corners))[:_TRIED]
        self._tried = np.concatenate([tried, corners[some]]) - middle
        # The points of the tree have gaps: even what does not move is off by up to half of one, along the surface.
        gap = float(self._tree.query(self._tried)[0].max())
        self._limit = math.hypot(tolerance * diagonal, gap)

    def looks_the_same(self, rotation: Array) -> bool:
        """Whether the turned surface lies on the surface, to within the tolerance."""
        few, rest = self._tried[::16] @ rotation.T, self._tried @ rotation.T  # most turns fail at once
        return all(np.isfinite(self._tree.query(own, distance_upper_bound=self._limit)[0]).all() for own in (few, rest))


def _candidates(points: Array) -> list[Array]:
    """Unit vectors that may be axes: x, y and z, on which CAD models stand, before the principal ones."""
    return [*np.eye(3), *np.linalg.eigh(points.T @ points)[1].T]


def _combined(turns: Sequence[Array], surface: _Surface) -> list[Array]:
    """The identity and all that follows from ``turns``, one after the other, as far as the surface looks the same."""
    found = [np.eye(3)]
    for known in found:  # it grows on the way
        for one in turns:
            new = one @ known
            if rotation_angle(new @ np.stack(found).transpose(0, 2, 1)).min() > _APART and surface.looks_the_same(new):
                found.append(new)
    return found


def _all_directions(count: int) -> Array:
    """Rotations about every axis: by Euler angles z, y, z in ``count`` steps to a full turn."""
    x, y, z = np.eye(3)
    step = 2 * math.pi / count
    about_z = [turn(z, step * k) for k in range(count)]
    tilts = [turn(y, step * k) for k in range(1, math.ceil(count / 2))]
    tilted = [first @ tilt @ second for tilt in tilts for first in about_z for second in about_z]
    over = turn(x, math.pi)
    return np.stack([*about_z, *tilted, *(one @ over for one in about_z)])


def _angle_between(one: Array, other: Array) -> float:
    """The angle of two axes, whose signs do not matter, in radians."""
    return math.acos(min(1.0, abs(float(one @ other))))
