"""Poses of known meshes under the true perspective, and what is drawn with them.

The camera's frame is that of BOP and OpenCV: x right, y down, z forward. An object's origin appears at (u, v) in image
pixels, at the distance D along the optical axis, in units of the object frame; ``scale`` a is the number of pixels that
a unit of length has there, vertically. A point X of the object frame, turned to (r, d, f) = R X, is seen at

    x = cx + D / (D + f) (u - cx + aspect a r),    y = cy + D / (D + f) (v - cy + a d),

which is the pinhole camera of focal length fy = a D. No angle is taken to be small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.crops.pixels import OUTSIDE, VISIBLE, PixelWindow
from shape3d_amodal.geometry.cameras import DISTANCE as _LOOK_FROM
from shape3d_amodal.geometry.cameras import FOCAL
from shape3d_amodal.priors.bank import bits
from shape3d_amodal.structures import Viewpoint

POSE = 16
"""Numbers of a pose: rotation, row by row (9), scale, u, v, distance, cx, cy, aspect."""
SCALE, U, V, DISTANCE, CX, CY, ASPECT = range(9, POSE)
_LEVEL, _LOWEST, _HIGHEST = np.radians([20, -10, 60])
"""Upright is what is rolled by less, and seen from elevations between these."""


@dataclass(frozen=True, eq=False, repr=False)
class MeshTable(ArrayFields):
    """Meshes one after another: vertices [V,3] float32, faces [F,3] int32, and where each mesh begins [M+1] int64."""

    verts: NDArray[np.float32]
    first_vert: NDArray[np.int64]
    faces: NDArray[np.int32]
    first_face: NDArray[np.int64]

    @property
    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """All of it, in the order in which kernels take it."""
        return self.verts, self.first_vert, self.faces, self.first_face

    def boxes(self, poses: Poses) -> NDArray[np.float32]:
        """x0, y0, x1, y1 of the silhouettes of K poses, [K,4] in image pixels."""
        out = np.zeros((len(poses), 4), np.float32)
        bits.boxes_all(self.verts, self.first_vert, poses.mesh, np.ascontiguousarray(poses.rows, np.float32), out)
        return out

    @classmethod
    def of(cls, meshes: list[tuple[NDArray[np.float32], NDArray[np.int64]]]) -> MeshTable:
        """Of vertices and faces of each."""
        verts, faces = [mesh[0] for mesh in meshes], [mesh[1] for mesh in meshes]

        def first(parts: list[NDArray[np.float32]] | list[NDArray[np.int64]]) -> NDArray[np.int64]:
            return np.cumsum([0, *(len(part) for part in parts)])

        return cls(
            np.ascontiguousarray(np.concatenate(verts), np.float32),
            first(verts),
            np.ascontiguousarray(np.concatenate(faces), np.int32),
            first(faces),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Poses(ArrayFields):
    """K poses: ``mesh`` [K] int64, index into a ``MeshTable``; ``rows`` [K,POSE] float32; ``score`` [K] float64."""

    mesh: NDArray[np.int64]
    rows: NDArray[np.float32]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.mesh)

    def __getitem__(self, chosen: NDArray[np.int64] | slice) -> Poses:
        return Poses(self.mesh[chosen], self.rows[chosen], self.score[chosen])

    def best(self, count: int) -> Poses:
        """The ``count`` of the highest score, the best first."""
        return self[np.argsort(-self.score, kind="stable")[:count]]

    def mixed(self, count: int) -> Poses:
        """The same, but upright poses and others take turns, as ``in_turn`` says."""
        return self[in_turn(self.score, upright(self.rotation), count)]

    @classmethod
    def join(cls, parts: list[Poses]) -> Poses:
        return cls(
            np.concatenate([part.mesh for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.score for part in parts]),
        )

    @property
    def rotation(self) -> NDArray[np.float32]:
        """[K,3,3], from the object frame to the camera's."""
        return self.rows[:, :9].reshape(-1, 3, 3)


class Level:
    """A window's pixels, or every ``stride``-th of them: the grid on which poses are compared with what is known."""

    def __init__(self, window: PixelWindow, stride: int) -> None:
        self.window, self.stride = window, stride
        first = stride // 2
        self.state = np.ascontiguousarray(window.state[first::stride, first::stride])
        x0, y0 = window.left + first + 0.5, window.top + first + 0.5
        self.grid = np.array([x0, y0, stride], np.float32)
        self.visible, self.outside = bits.pack(self.state == VISIBLE), bits.pack(self.state == OUTSIDE)
        self.area = max(int((self.state == VISIBLE).sum()), 1)

    @property
    def size(self) -> int:
        return len(self.state)

    def overlap(self, meshes: MeshTable, mesh: NDArray[np.int64], rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """[K] certain-pixel IoU of the hard silhouettes: |T and visible| / (|visible| + |T and outside|)."""
        counts = np.empty((len(rows), 2))
        bits.count_all(
            *meshes.arrays, mesh, np.ascontiguousarray(rows, np.float32), self.grid, self.visible, self.outside, counts
        )
        result: NDArray[np.float64] = counts[:, 0] / (self.area + counts[:, 1])
        return result

    def masks(self, meshes: MeshTable, mesh: NDArray[np.int64], rows: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Silhouettes [K,n,n] bool."""
        return bits.unpack(self.drawn(meshes, mesh, rows), self.size)

    def drawn(self, meshes: MeshTable, mesh: NDArray[np.int64], rows: NDArray[np.float32]) -> NDArray[np.uint64]:
        """The same as bits, [K,n,words]."""
        drawn = np.empty((len(rows), self.size, -(-self.size // bits.WORD)), np.uint64)
        bits.draw_all(*meshes.arrays, mesh, np.ascontiguousarray(rows, np.float32), self.grid, drawn)
        return drawn


def rotations(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices [...,3,3] of rotation vectors [...,3], radians (Rodrigues' formula)."""
    angle = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-12)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    turned: NDArray[np.float64] = (
        np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * (cross @ cross)
    )
    return turned


def upright(rotation: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """[...], whether objects of rotations [...,3,3] stand before a camera as people hold it: level, or looking down."""
    up = rotation[..., 1]
    roll, elevation = np.arctan2(up[..., 0], -up[..., 1]), -np.arcsin(np.clip(up[..., 2], -1, 1))
    stands: NDArray[np.bool_] = (np.abs(roll) < _LEVEL) & (elevation > _LOWEST) & (elevation < _HIGHEST)
    return stands


def in_turn(score: NDArray[np.floating[Any]], first: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` best of K scores, at most: by turns the next best of ``first`` [K] and of the others, of
    such a pair the better one first.

    So those that are likely have their share of what is tried, however many others there are.
    """
    order = np.argsort(-score, kind="stable")
    place = np.where(first[order], np.cumsum(first[order]), np.cumsum(~first[order]))
    return order[np.argsort(place, kind="stable")][:count]


def towards(ray: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotations [K,3,3] that turn the optical axis to ``ray`` [K,3]: from how an object looks to its pose.

    An object looks the same, but for a slight shear of the image, wherever it stands, if it is turned with the ray.
    """
    unit = ray / np.linalg.norm(ray, axis=1, keepdims=True)
    axis = np.stack([-unit[:, 1], unit[:, 0], np.zeros(len(ray))], axis=1)
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.arctan2(sine[:, 0], unit[:, 2])[:, None]
    return rotations(axis / np.maximum(sine, 1e-12) * angle)


def origins(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where the objects' origins stand in the camera frame, [K,3], in units of the object frame, of poses [K,POSE]."""
    rows = rows.astype(np.float64)
    right = (rows[:, U] - rows[:, CX]) / (rows[:, SCALE] * rows[:, ASPECT])
    down = (rows[:, V] - rows[:, CY]) / rows[:, SCALE]
    return np.stack([right, down, rows[:, DISTANCE]], axis=1)


def viewpoints(rows: NDArray[np.float32], windows: NDArray[np.float32]) -> Viewpoint:
    """Poses [K,POSE] as viewpoints in crops, ``windows`` [K,4] in image pixels.

    A viewpoint's camera looks straight at the object from a fixed distance, so of a near camera's perspective
    something is lost.
    """
    rows, windows = rows.astype(np.float64), windows.astype(np.float64)
    focal = rows[:, SCALE] * rows[:, DISTANCE]
    ray = np.stack([(rows[:, U] - rows[:, CX]) / focal / rows[:, ASPECT], (rows[:, V] - rows[:, CY]) / focal], axis=1)
    turn = towards(np.concatenate([ray, np.ones((len(rows), 1))], axis=1))
    seen = turn.transpose(0, 2, 1) @ rows[:, :9].reshape(-1, 3, 3)
    left, forward = -seen[:, 0], seen[:, 2]
    azimuth, elevation = np.arctan2(-forward[:, 0], -forward[:, 2]), -np.arcsin(np.clip(forward[:, 1], -1, 1))
    level = np.stack([-np.cos(azimuth), np.zeros(len(rows)), np.sin(azimuth)], axis=1)  # without roll: left and up
    upright = np.cross(forward, level)
    roll = np.arctan2((left * upright).sum(axis=1), (left * level).sum(axis=1))
    half = (windows[:, 2] - windows[:, 0]) / 2
    middle = (windows[:, :2] + windows[:, 2:]) / 2
    parts = (
        azimuth,
        elevation,
        roll,
        rows[:, SCALE] / half * _LOOK_FROM / FOCAL,
        (middle - rows[:, [U, V]]) / half[:, None],
    )
    return Viewpoint(*(torch.from_numpy(part).float() for part in parts))
