"""Numba kernels of the edge mode: hard coverage, and for each pixel the nearest point of the contour."""

from __future__ import annotations

import math

import numba
import numpy as np

from shape3d_amodal.rendering.reference import AREA, BESIDE, NEAR, blur_radius

CUT = blur_radius(1.0)
TILE = 8  # pixels; faces are found by tiles where a point must be tested against them

# No fast math: neighbouring faces must round alike, or gaps open between them.
_kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


@_kernel
def forward(verts, faces, edges, first_edge, first_side, side_face, along, sigma, alpha, first, last):  # type: ignore[no-untyped-def]
    """Write the silhouettes of images first..last - 1 into ``alpha`` [B,H,W]."""
    size = alpha.shape[1]
    radius2 = np.float32(CUT * sigma)
    covered = np.zeros((size, size), dtype=np.bool_)
    winner = np.zeros((size, size), dtype=np.int32)
    for b in range(first, last):
        mesh = min(b, faces.shape[0] - 1)
        nearest = alpha[b]
        _nearest_contour(
            verts[b], faces[mesh], edges, first_edge[mesh], first_edge[mesh + 1], first_side, side_face, along,
            radius2, covered, nearest, winner,
        )  # fmt: skip
        for row in range(size):
            for column in range(size):
                x = nearest[row, column] / np.float32(sigma)
                if winner[row, column] < 0:
                    alpha[b, row, column] = 1.0 if covered[row, column] else 0.0
                else:
                    alpha[b, row, column] = 1.0 / (1.0 + math.exp(-x if covered[row, column] else x))


@_kernel
def backward(  # type: ignore[no-untyped-def]
    verts, faces, edges, first_edge, first_side, side_face, along, sigma, alpha, grad, grad_verts, first, last
):
    """Add the gradient of images first..last - 1 to ``grad_verts`` [B,V,3]."""
    size = alpha.shape[1]
    radius2 = np.float32(CUT * sigma)
    one = np.float32(1.0)
    scale = np.float32(2.0 / sigma)
    covered = np.zeros((size, size), dtype=np.bool_)
    nearest = np.zeros((size, size), dtype=np.float32)
    winner = np.zeros((size, size), dtype=np.int32)
    for b in range(first, last):
        mesh = min(b, faces.shape[0] - 1)
        _nearest_contour(
            verts[b], faces[mesh], edges, first_edge[mesh], first_edge[mesh + 1], first_side, side_face, along,
            radius2, covered, nearest, winner,
        )  # fmt: skip
        for row in range(size):
            py = _centre(row, size)
            for column in range(size):
                edge = winner[row, column]
                if edge < 0:
                    continue
                i, j = edges[edge, 0], edges[edge, 1]
                _, t, rx, ry = _segment(
                    _centre(column, size), py, verts[b, i, 0], verts[b, i, 1], verts[b, j, 0], verts[b, j, 1]
                )
                a = alpha[b, row, column]
                weight = grad[b, row, column] * a * (one - a) * (-scale if covered[row, column] else scale)
                grad_verts[b, i, 0] += weight * (one - t) * rx
                grad_verts[b, i, 1] += weight * (one - t) * ry
                grad_verts[b, j, 0] += weight * t * rx
                grad_verts[b, j, 1] += weight * t * ry


@_kernel
def _nearest_contour(  # type: ignore[no-untyped-def]
    verts, faces, edges, begin, end, first_side, side_face, along, radius2, covered, nearest, winner
):
    """Fill ``covered`` (hard coverage), ``nearest`` (squared distance to the contour, up to ``radius2``) and ``winner``
    (the nearest edge, -1 beyond ``radius2``), all [H,W]."""
    size = covered.shape[0]
    margin = np.float32(math.sqrt(radius2))
    orientation = _orientations(verts, faces)
    _cover(verts, faces, orientation, covered)
    first_in_tile, in_tile = _faces_by_tile(verts, faces, orientation, size)
    nearest[:] = radius2
    winner[:] = -1
    for edge in range(begin, end):
        side = _free_side(first_side[edge], first_side[edge + 1], side_face, along, orientation)
        if side == 0:
            continue
        i, j = edges[edge, 0], edges[edge, 1]
        ux, uy, wx, wy = verts[i, 0], verts[i, 1], verts[j, 0], verts[j, 1]
        x0, x1 = _span(min(ux, wx) - margin, max(ux, wx) + margin, size)
        y0, y1 = _span(min(uy, wy) - margin, max(uy, wy) + margin, size)
        for row in range(y0, y1):
            py = _centre(row, size)
            for column in range(x0, x1):
                d2, t, _, _ = _segment(_centre(column, size), py, ux, uy, wx, wy)
                if d2 >= nearest[row, column]:
                    continue
                if covered[row, column]:
                    x, y = _point_beside(t, ux, uy, wx, wy, side, size)
                    if _is_covered(x, y, verts, faces, first_in_tile, in_tile, size):
                        continue
                nearest[row, column] = d2
                winner[row, column] = edge


@_kernel
def _orientations(verts, faces):  # type: ignore[no-untyped-def]
    """1 or -1 for faces wound left or right on the screen; 0 for those that are not drawn."""
    orientation = np.zeros(faces.shape[0], dtype=np.int8)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = verts[i, 0], verts[i, 1], verts[j, 0], verts[j, 1], verts[k, 0], verts[k, 1]
        total = ax + ay + bx + by + cx + cy + verts[i, 2] + verts[j, 2] + verts[k, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if math.isfinite(total) and min(verts[i, 2], verts[j, 2], verts[k, 2]) >= NEAR and abs(area) > AREA:
            orientation[f] = 1 if area > 0 else -1
    return orientation


@_kernel
def _free_side(begin, end, side_face, along, orientation):  # type: ignore[no-untyped-def]
    """On which side all faces of an edge lie (1 left, -1 right); 0 if on both, or if no face is drawn."""
    left = right = False
    for s in range(begin, end):
        side = orientation[side_face[s]] * along[s]
        left |= side > 0
        right |= side < 0
    return int(left) - int(right)


@_kernel
def _cover(verts, faces, orientation, covered):  # type: ignore[no-untyped-def]
    """Which pixel centres lie in a face or on its border.

    In each row a face covers the pixels between two of its edges. An edge meets a row at one number, whichever of its
    faces asks, so neighbours leave no gap.
    """
    size = covered.shape[0]
    covered[:] = False
    for f in range(faces.shape[0]):
        if orientation[f] == 0:
            continue
        x = np.zeros(3)
        y = np.zeros(3)
        for k in range(3):
            x[k] = (1.0 - verts[faces[f, k], 0]) * (0.5 * size) - 0.5
            y[k] = (1.0 - verts[faces[f, k], 1]) * (0.5 * size) - 0.5
        for row in range(math.ceil(max(min(y), 0.0)), math.floor(min(max(y), size - 1.0)) + 1):
            left, right = np.inf, -np.inf
            for k in range(3):
                low, high = k, (k + 1) % 3
                if y[low] > y[high]:
                    low, high = high, low
                if y[low] == y[high] or row < y[low] or row > y[high]:
                    continue
                share = (row - y[low]) / (y[high] - y[low])
                meets = x[high] if row == y[high] else x[low] + share * (x[high] - x[low])
                left, right = min(left, meets), max(right, meets)
            for column in range(math.ceil(max(left, 0.0)), math.floor(min(right, size - 1.0)) + 1):
                covered[row, column] = True


@_kernel
def _tiles(low, high, size):  # type: ignore[no-untyped-def]
    """First and last tile of an NDC interval; what is beyond the image belongs to the outermost tiles."""
    last = (size - 1) // TILE
    scale = 0.5 * size / TILE
    return (
        int(min(max((1.0 - high) * scale, 0.0), last)),
        int(min(max((1.0 - low) * scale, 0.0), last)),
    )


@_kernel
def _faces_by_tile(verts, faces, orientation, size):  # type: ignore[no-untyped-def]
    """For each tile where its faces begin in the second array, which lists them."""
    across = (size - 1) // TILE + 1
    boxes = np.zeros((faces.shape[0], 4), dtype=np.int32)
    begin = np.zeros(across * across + 2, dtype=np.int64)
    for f in range(faces.shape[0]):
        if orientation[f] == 0:
            continue
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        boxes[f, 0:2] = _tiles(
            min(verts[i, 0], verts[j, 0], verts[k, 0]), max(verts[i, 0], verts[j, 0], verts[k, 0]), size
        )
        boxes[f, 2:4] = _tiles(
            min(verts[i, 1], verts[j, 1], verts[k, 1]), max(verts[i, 1], verts[j, 1], verts[k, 1]), size
        )
        for row in range(boxes[f, 2], boxes[f, 3] + 1):
            for column in range(boxes[f, 0], boxes[f, 1] + 1):
                begin[row * across + column + 2] += 1
    begin = np.cumsum(begin)
    listed = np.zeros(begin[-1], dtype=np.int32)
    for f in range(faces.shape[0]):
        if orientation[f] == 0:
            continue
        for row in range(boxes[f, 2], boxes[f, 3] + 1):
            for column in range(boxes[f, 0], boxes[f, 1] + 1):
                listed[begin[row * across + column + 1]] = f
                begin[row * across + column + 1] += 1
    return begin, listed


@_kernel
def _is_covered(x, y, verts, faces, begin, listed, size):  # type: ignore[no-untyped-def]
    """Whether a face covers the point."""
    across = (size - 1) // TILE + 1
    tile = _tiles(y, y, size)[0] * across + _tiles(x, x, size)[0]
    for n in range(begin[tile], begin[tile + 1]):
        i, j, k = faces[listed[n], 0], faces[listed[n], 1], faces[listed[n], 2]
        ax, ay, bx, by = verts[i, 0] - x, verts[i, 1] - y, verts[j, 0] - x, verts[j, 1] - y
        cx, cy = verts[k, 0] - x, verts[k, 1] - y
        ab, bc, ca = ax * by - ay * bx, bx * cy - by * cx, cx * ay - cy * ax
        if (ab >= 0 and bc >= 0 and ca >= 0) or (ab <= 0 and bc <= 0 and ca <= 0):
            return True
    return False


@_kernel
def _point_beside(t, ux, uy, wx, wy, side, size):  # type: ignore[no-untyped-def]
    """The point just beyond the contour, if the edge is part of it at t; see ``reference.point_beside``."""
    ex, ey = wx - ux, wy - uy
    length = math.sqrt(ex * ex + ey * ey)
    delta = np.float32(BESIDE * 2 / size)
    from_ends = min(np.float32(8.0) * delta / length, np.float32(0.5))
    t = min(max(t, from_ends), np.float32(1.0) - from_ends)
    out = side * delta / length
    return np.float32(ux + t * ex + out * ey), np.float32(uy + t * ey - out * ex)


@_kernel
def _segment(px, py, ux, uy, wx, wy):  # type: ignore[no-untyped-def]
    """Squared distance of p to the segment (u, w), its parameter t in 0..1 and the offset r."""
    ex, ey, qx, qy = wx - ux, wy - uy, px - ux, py - uy
    t = min(max((qx * ex + qy * ey) / (ex * ex + ey * ey), np.float32(0.0)), np.float32(1.0))
    rx, ry = qx - t * ex, qy - t * ey
    return rx * rx + ry * ry, t, rx, ry


@_kernel
def _centre(index, size):  # type: ignore[no-untyped-def]
    """NDC coordinate of the centre of a column or row."""
    return np.float32(1.0) - np.float32(2 * index + 1) / np.float32(size)


@_kernel
def _span(low, high, size):  # type: ignore[no-untyped-def]
    """Pixels [first, end) whose centres may lie between the NDC coordinates low and high (pixels run against NDC)."""
    half = np.float32(0.5) * size
    first = math.floor(min(max((np.float32(1.0) - high) * half - np.float32(0.5), np.float32(0.0)), np.float32(size)))
    end = math.ceil(min(max((np.float32(1.0) - low) * half + np.float32(0.5), np.float32(0.0)), np.float32(size)))
    return int(first), int(end)
