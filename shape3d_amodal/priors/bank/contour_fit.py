"""Poses by Gauss-Newton: the silhouette's contour is drawn to where the certain pixels say that it must be.

Each step draws the mesh and looks at its contour. Where the contour runs through known background it must retreat to
what may be the object; where visible pixels lie beyond it, it must advance to their end; where visible meets background
it is held. Each visible pixel that is not covered also draws the nearest covered one, so that thin parts find theirs.
Where the object may be hidden nothing holds the contour. The distances are made small in the least squares sense,
reweighted so that, in the end, their sum counts and not that of their squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from shape3d_amodal.crops.pixels import OUTSIDE, UNKNOWN, VISIBLE
from shape3d_amodal.priors.bank.bits import FAST, by_row, columns_of, most_verts, to_samples
from shape3d_amodal.priors.bank.poses import ASPECT, CX, CY, DISTANCE, SCALE, Level, MeshTable, Poses, U, V

# Built on bits b79f6cb8
_OUTSIDE, _VISIBLE, _UNKNOWN = np.uint8(OUTSIDE), np.uint8(VISIBLE), np.uint8(UNKNOWN)
FREE = 7
"""Numbers that are fitted: rotation vector in the camera's frame (3), log-scale, u and v in units of the object, log
distance."""
REACH = 20.0
"""Samples, at most, by which the contour is asked to move."""
_BACK = 3.0
"""Weight of a visible pixel that is not covered, against 1 of a pixel of the contour."""
_DAMPING = 0.03
_STEP, _TURN = 0.3, 0.3
_LARGEST = np.array([0.25, 0.25, 0.25, 0.1, 0.05, 0.05, 0.4])
"""Largest steps of the fitted numbers, of those that hardly move the contour."""
NEAREST, FARTHEST = 0.6, 1000.0
"""Bounds of the distance of the camera, in diagonals of the object: it stays outside of the object."""
_FAR = np.int32(4000)


@dataclass(frozen=True)
class PoseBeliefs:
    """What is believed of poses before an object is seen, as losses of certain-pixel IoU.

    Attributes:
        distance: likely distance of the camera, in diagonals of the object.
        distance_weight: loss for each squared unit of log-distance from that.
        roll_weight: loss for each squared radian of roll of the object's up axis in the image.
        focal: vertical focal length in pixels where the camera is known: then the scale decides the distance.
    """

    distance: float = 3.3
    distance_weight: float = 0.01
    roll_weight: float = 0.0
    focal: float | None = None

    def loss(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """[K] for poses [K,POSE]."""
        far = np.log(rows[:, DISTANCE].astype(np.float64) / self.distance)
        roll = np.arctan2(rows[:, 1], -rows[:, 4])
        weight = self.distance_weight if self.focal is None else 0.0
        result: NDArray[np.float64] = weight * far**2 + self.roll_weight * roll**2
        return result

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """For kernels: log of the distance, its weight, the weight of the roll, and the focal length or 0."""
        return np.array([math.log(self.distance), self.distance_weight, self.roll_weight, self.focal or 0.0])


def fit_contours(
    meshes: MeshTable, poses: Poses, level: Level, beliefs: PoseBeliefs, *, steps: int, robust: bool
) -> Poses:
    """Each pose moved to the best one on its way.

    Args:
        steps: Gauss-Newton steps; 0 only scores.
        robust: make the sum of distances small, not that of their squares: for poses that are nearly right.

    Returns:
        The poses with their scores on this level: certain-pixel IoU less what ``beliefs`` take off.
    """
    rows, score = poses.rows.copy(), np.empty(len(poses))
    _fit_all(
        *meshes.arrays,
        poses.mesh,
        rows,
        level.grid,
        level.state,
        _offsets(level),
        beliefs.numbers,
        steps,
        robust,
        score,
    )
    return Poses(poses.mesh, rows, score)


def pixel_steps(meshes: MeshTable, poses: Poses, level: Level, beliefs: PoseBeliefs) -> NDArray[np.float64]:
    """[K,n,n]: of each pose a matrix whose columns move the fitted numbers so that its contour moves by a sample or so.

    It is the inverse root of the mean square of the contour's motion: what hardly moves it, such as the distance, may
    change much, and what changes together is one column.
    """
    free = FREE if beliefs.focal is None else FREE - 1
    squares = np.zeros((len(poses), free, free))
    _squares(*meshes.arrays, poses.mesh, poses.rows, level.grid, level.state, beliefs.numbers, squares)
    variance, axes = np.linalg.eigh(squares + np.diag(_LARGEST[:free] ** -2))
    steps: NDArray[np.float64] = axes / np.sqrt(variance)[:, None]
    return steps


def _offsets(level: Level) -> NDArray[np.float32]:
    """[n,n,2]: (columns, rows) from each visible sample to the nearest that is not; from known background likewise."""

    def nearest(region: NDArray[np.bool_]) -> NDArray[np.float32]:
        if region.all() or not region.any():
            return np.full((*region.shape, 2), 2 * REACH, np.float32)
        rows, columns = distance_transform_edt(region, return_distances=False, return_indices=True)
        own = np.indices(region.shape)
        return np.stack([columns - own[1], rows - own[0]], axis=-1).astype(np.float32)

    visible, outside = level.state == VISIBLE, level.state == OUTSIDE
    return np.where(visible[..., None], nearest(visible), nearest(outside))


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _fit_all(  # type: ignore[no-untyped-def]
    verts, first_vert, faces, first_face, mesh, rows, grid, state, offsets, beliefs, steps, robust, score
):
    size = len(state)
    screen = np.empty((most_verts(first_vert), 3), np.float32)
    nearness, face = np.empty((size, size), np.float32), np.empty((size, size), np.int32)
    near = np.empty((size, size, 2), np.int32)
    for k in range(len(rows)):
        m = mesh[k]
        own_verts, own_faces = verts[first_vert[m] : first_vert[m + 1]], faces[first_face[m] : first_face[m + 1]]
        pose, best = rows[k].copy(), -np.inf
        for step in range(steps + 1):
            _draw_faces(own_verts, own_faces, pose, grid, screen, nearness, face)
            value = _score(face, state, pose, beliefs)
            if value > best:
                best = value
                rows[k] = pose
            if step < steps:
                system = _system(own_verts, own_faces, pose, grid, screen, face, state, offsets, near, beliefs, robust)
                _move(pose, _solve(*system), beliefs)
        score[k] = best


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _squares(  # type: ignore[no-untyped-def]
    verts, first_vert, faces, first_face, mesh, rows, grid, state, beliefs, squares
):
    size = len(state)
    screen = np.empty((most_verts(first_vert), 3), np.float32)
    nearness, face = np.empty((size, size), np.float32), np.empty((size, size), np.int32)
    slope = np.empty(FREE)
    for k in range(len(rows)):
        m = mesh[k]
        own_verts, own_faces = verts[first_vert[m] : first_vert[m + 1]], faces[first_face[m] : first_face[m + 1]]
        _draw_faces(own_verts, own_faces, rows[k], grid, screen, nearness, face)
        square, right, count = np.zeros(squares.shape[1:]), np.zeros(squares.shape[1]), 0
        for row in range(size):
            for column in range(size):
                if face[row, column] < 0:
                    continue
                for side in range(4):
                    r, c = row + (side == 0) - (side == 1), column + (side == 2) - (side == 3)
                    if r < 0 or c < 0 or r >= size or c >= size or face[r, c] >= 0:
                        continue
                    if state[row, column] == _UNKNOWN and state[r, c] == _UNKNOWN:
                        continue
                    x, y = np.float32(c - column), np.float32(r - row)
                    _slope(
                        own_verts,
                        own_faces[face[row, column]],
                        rows[k],
                        grid,
                        screen,
                        row,
                        column,
                        x,
                        y,
                        beliefs,
                        slope,
                    )
                    _add(square, right, slope, 1.0, 0.0)
                    count += 1
        for p in range(len(right)):
            for q in range(p + 1):
                squares[k, p, q] = squares[k, q, p] = square[p, q] / max(count, 1)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _draw_faces(verts, faces, pose, grid, screen, nearness, face):  # type: ignore[no-untyped-def]
    """Write for each sample the face that is seen there, -1 for none; of several the one with the nearest middle."""
    to_samples(verts, pose, grid, screen)
    size = len(face)
    nearness[:], face[:] = 0, -1
    last = np.float32(size - 1)
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        middle = screen[i, 2] + screen[j, 2] + screen[k, 2]
        corners = by_row(screen, i, j, k)
        top, bottom = math.ceil(max(corners[1], np.float32(0))), math.floor(min(corners[5], last))
        for row in range(top, bottom + 1):
            first, end = columns_of(corners, row, last)
            for column in range(first, end + 1):
                if middle > nearness[row, column]:
                    nearness[row, column], face[row, column] = middle, f


@numba.njit(nogil=True, cache=True)
def _score(face, state, pose, beliefs):  # type: ignore[no-untyped-def]
    """Certain-pixel IoU less what the beliefs take off, as ``Level.overlap`` and ``PoseBeliefs.loss`` have it."""
    visible, inside, wrong = 0, 0, 0
    for row in range(len(face)):
        for column in range(len(face)):
            is_visible = state[row, column] == _VISIBLE
            visible += is_visible
            if face[row, column] >= 0:
                inside += is_visible
                wrong += state[row, column] == _OUTSIDE
    far = math.log(pose[DISTANCE]) - beliefs[0] if beliefs[3] == 0 else 0.0
    roll = math.atan2(pose[1], -pose[4])
    return inside / max(visible + wrong, 1) - beliefs[1] * far * far - beliefs[2] * roll * roll


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _system(verts, faces, pose, grid, screen, face, state, offsets, near, beliefs, robust):  # type: ignore[no-untyped-def]
    """The normal equations: matrix [n,n] and right side [n]; n is ``FREE``, or one less where the camera is known."""
    size, free = len(face), FREE if beliefs[3] == 0 else FREE - 1
    matrix, right, slope = np.zeros((free, free)), np.zeros(free), np.empty(FREE)
    visible = 0
    for row in range(size):
        for column in range(size):
            visible += state[row, column] == _VISIBLE
            if face[row, column] < 0:
                continue
            for side in range(4):
                r, c = row + (side == 0) - (side == 1), column + (side == 2) - (side == 3)
                if r < 0 or c < 0 or r >= size or c >= size or face[r, c] >= 0:
                    continue
                inner, outer = state[row, column], state[r, c]
                if outer == _VISIBLE:
                    x, y = offsets[r, c, 0], offsets[r, c, 1]
                elif inner == _OUTSIDE:
                    x, y = offsets[row, column, 0], offsets[row, column, 1]
                elif inner == _VISIBLE and outer == _OUTSIDE:
                    x, y = np.float32(0), np.float32(0)
                else:
                    continue
                length = math.sqrt(x * x + y * y)
                if length > REACH:
                    continue
                weight = 1 / max(length, 1.0) if robust else 1.0
                if length == 0:
                    x, y, ask = np.float32(c - column), np.float32(r - row), 0.0
                else:
                    x, y, ask = x / length, y / length, length - 0.5
                _slope(verts, faces[face[row, column]], pose, grid, screen, row, column, x, y, beliefs, slope)
                _add(matrix, right, slope, weight, ask)
    _nearest_covered(face, near)
    for row in range(size):
        for column in range(size):
            if state[row, column] != _VISIBLE or face[row, column] >= 0:
                continue
            x, y = -np.float32(near[row, column, 0]), -np.float32(near[row, column, 1])
            length = math.sqrt(x * x + y * y)
            if length > REACH or length < 1.5:  # the contour's own neighbours have been asked
                continue
            r, c = row - int(y), column - int(x)
            weight = _BACK / length if robust else _BACK
            _slope(verts, faces[face[r, c]], pose, grid, screen, r, c, x / length, y / length, beliefs, slope)
            _add(matrix, right, slope, weight, length - 0.5)
    _add_beliefs(matrix, right, pose, beliefs, visible)
    return matrix, right


@numba.njit(nogil=True, error_model="numpy", fastmath=FAST, inline="always")
def _slope(verts, corners, pose, grid, screen, row, column, x, y, beliefs, slope):  # type: ignore[no-untyped-def]
    """How fast the face's point at a sample moves in the direction (x, y) of the grid as each number grows."""
    i, j, k = corners[0], corners[1], corners[2]
    ux, uy = screen[j, 0] - screen[i, 0], screen[j, 1] - screen[i, 1]
    wx, wy = screen[k, 0] - screen[i, 0], screen[k, 1] - screen[i, 1]
    qx, qy = column - screen[i, 0], row - screen[i, 1]
    area = ux * wy - uy * wx
    if abs(area) > 1e-6:
        second, third = (qx * wy - qy * wx) / area, (ux * qy - uy * qx) / area
    else:
        second = third = 1 / 3
    first = 1 - second - third
    px = first * verts[i, 0] + second * verts[j, 0] + third * verts[k, 0]
    py = first * verts[i, 1] + second * verts[j, 1] + third * verts[k, 1]
    pz = first * verts[i, 2] + second * verts[j, 2] + third * verts[k, 2]
    r = pose[0] * px + pose[1] * py + pose[2] * pz
    d = pose[3] * px + pose[4] * py + pose[5] * pz
    f = pose[6] * px + pose[7] * py + pose[8] * pz
    scale, wide, distance = pose[SCALE], pose[SCALE] * pose[ASPECT], pose[DISTANCE]
    near = distance / (distance + f)
    right, down = pose[U] - pose[CX] + wide * r, pose[V] - pose[CY] + scale * d
    hx, hy = x / grid[2], y / grid[2]
    forwards = -(near * near / distance) * (hx * right + hy * down)  # as the point moves away from the camera
    slope[0] = forwards * d - hy * near * scale * f
    slope[1] = hx * near * wide * f - forwards * r
    slope[2] = near * (hy * scale * r - hx * wide * d)
    slope[3] = near * (hx * wide * r + hy * scale * d)
    slope[4], slope[5] = hx * near * scale, hy * near * scale
    slope[6] = (hx * right + hy * down) * near * (1 - near)
    if beliefs[3] > 0:  # the distance is focal length / scale
        slope[3] -= slope[6]


@numba.njit(nogil=True, error_model="numpy", fastmath=FAST, inline="always")
def _add(matrix, right, slope, weight, ask):  # type: ignore[no-untyped-def]
    for p in range(len(right)):
        right[p] += weight * slope[p] * ask
        for q in range(p + 1):
            matrix[p, q] += weight * slope[p] * slope[q]


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _add_beliefs(matrix, right, pose, beliefs, visible):  # type: ignore[no-untyped-def]
    free = len(right)
    trace = 1e-6
    for p in range(free):
        trace += matrix[p, p] / free
        for q in range(p):
            matrix[q, p] = matrix[p, q]
    for p in range(free):
        matrix[p, p] += _DAMPING * matrix[p, p] + 1e-5 * trace
    if free == FREE:
        matrix[6, 6] += beliefs[1] * visible
        right[6] -= beliefs[1] * visible * (math.log(pose[DISTANCE]) - beliefs[0])
    matrix[2, 2] += beliefs[2] * visible
    right[2] -= beliefs[2] * visible * math.atan2(pose[1], -pose[4])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _solve(matrix, right):  # type: ignore[no-untyped-def]
    """The solution of a positive definite system, by Cholesky's factor."""
    n = len(right)
    factor, x = np.zeros((n, n)), right.copy()
    for i in range(n):
        for j in range(i + 1):
            rest = matrix[i, j]
            for k in range(j):
                rest -= factor[i, k] * factor[j, k]
            factor[i, j] = math.sqrt(max(rest, 1e-12)) if i == j else rest / factor[j, j]
    for i in range(n):
        for k in range(i):
            x[i] -= factor[i, k] * x[k]
        x[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= factor[k, i] * x[k]
        x[i] /= factor[i, i]
    return x


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _move(pose, by, beliefs):  # type: ignore[no-untyped-def]
    """Change a pose in place by the fitted numbers, each kept small."""
    angle = math.sqrt(by[0] ** 2 + by[1] ** 2 + by[2] ** 2)
    shorter = min(1.0, _TURN / max(angle, 1e-12))
    x, y, z = by[0] * shorter, by[1] * shorter, by[2] * shorter
    angle = max(angle * shorter, 1e-12)
    sine, cosine = math.sin(angle) / angle, (1 - math.cos(angle)) / angle**2
    for axis in range(3):
        a, b, c = pose[axis], pose[3 + axis], pose[6 + axis]
        u, v, w = y * c - z * b, z * a - x * c, x * b - y * a
        pose[axis] = a + sine * u + cosine * (y * w - z * v)
        pose[3 + axis] = b + sine * v + cosine * (z * u - x * w)
        pose[6 + axis] = c + sine * w + cosine * (x * v - y * u)
    scale = pose[SCALE]
    pose[U] += scale * min(max(by[4], -_STEP), _STEP)
    pose[V] += scale * min(max(by[5], -_STEP), _STEP)
    pose[SCALE] = scale * math.exp(min(max(by[3], -_STEP), _STEP))
    if beliefs[3] > 0:
        pose[SCALE] = min(max(pose[SCALE], beliefs[3] / FARTHEST), beliefs[3] / NEAREST)
        pose[DISTANCE] = beliefs[3] / pose[SCALE]
    else:
        distance = pose[DISTANCE] * math.exp(min(max(by[6], -_STEP), _STEP))
        pose[DISTANCE] = min(max(distance, NEAREST), FARTHEST)


@numba.njit(nogil=True, cache=True)
def _nearest_covered(face, near):  # type: ignore[no-untyped-def]
    """Offsets (columns, rows) to the nearest covered sample, all but exactly: two passes (Danielsson, 1980)."""
    size = len(face)
    for row in range(size):
        for column in range(size):
            near[row, column] = 0 if face[row, column] >= 0 else _FAR
    for row in range(size):
        if row > 0:
            for column in range(size):
                _take(near, row, column, -1, 0)
        for column in range(1, size):
            _take(near, row, column, 0, -1)
        for column in range(size - 2, -1, -1):
            _take(near, row, column, 0, 1)
    for row in range(size - 2, -1, -1):
        for column in range(size):
            _take(near, row, column, 1, 0)
        for column in range(1, size):
            _take(near, row, column, 0, -1)
        for column in range(size - 2, -1, -1):
            _take(near, row, column, 0, 1)


@numba.njit(nogil=True, inline="always")
def _take(near, row, column, down, right):  # type: ignore[no-untyped-def]
    """Take the neighbour's nearest sample if it is nearer than the own one."""
    x, y = near[row + down, column + right, 0] + right, near[row + down, column + right, 1] + down
    if x * x + y * y < near[row, column, 0] ** 2 + near[row, column, 1] ** 2:
        near[row, column, 0], near[row, column, 1] = x, y
