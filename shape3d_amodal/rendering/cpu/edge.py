"""Numba kernels of the edge mode: hard coverage, and for each pixel the nearest point of the contour."""

from __future__ import annotations

import math

import numpy as np

from shape3d_amodal.rendering import reference
from shape3d_amodal.rendering.cpu.geometry import (
    COLUMN,
    HALF,
    LANES,
    ONE,
    ZERO,
    centre,
    edge_at,
    exact_inlined,
    exact_kernel,
    inlined,
    kernel,
    lower,
    orientation,
    rows_inside,
    span,
)
from shape3d_amodal.rendering.reference import BESIDE, blur_radius

BELOW_HALF = np.float32(reference.BELOW_HALF)
CUT = blur_radius(1.0)
# Built on geometry 16cd8b7b
TILE = 4  # pixels; faces are found by tiles where a point must be tested against them


@kernel
def forward(verts, faces, edges, first_edge, first_side, side_face, along, sigma, alpha, first, last):  # type: ignore[no-untyped-def]
    """Write the silhouettes of images first..last - 1 into ``alpha`` [B,H,W]."""
    size = alpha.shape[1]
    scale = np.float32(1 / sigma)
    covered, nearest, winner = _buffers(size)
    for b in range(first, last):
        mesh = min(b, faces.shape[0] - 1)
        own = first_edge[mesh], first_edge[mesh + 1]
        _find_contour(verts[b], faces[mesh], edges, own, first_side, side_face, along, sigma, covered, nearest, winner)
        for row in range(size):
            for column in range(size):
                inside = covered[row, column]
                if winner[row, column] < 0:
                    alpha[b, row, column] = ONE if inside else ZERO
                else:
                    x = nearest[row, column] * scale
                    soft = ONE / (ONE + math.exp(-x if inside else x))
                    alpha[b, row, column] = max(soft, HALF) if inside else min(soft, BELOW_HALF)


@kernel
def backward(  # type: ignore[no-untyped-def]
    verts, faces, edges, first_edge, first_side, side_face, along, sigma, alpha, grad, grad_verts, first, last
):
    """Add the gradient of images first..last - 1 to ``grad_verts`` [B,V,3]."""
    size = alpha.shape[1]
    scale = np.float32(2 / sigma)
    covered, nearest, winner = _buffers(size)
    for b in range(first, last):
        mesh = min(b, faces.shape[0] - 1)
        own = first_edge[mesh], first_edge[mesh + 1]
        _find_contour(verts[b], faces[mesh], edges, own, first_side, side_face, along, sigma, covered, nearest, winner)
        for row in range(size):
            for column in range(size):
                if winner[row, column] < 0:
                    continue
                i, j = edges[winner[row, column], 0], edges[winner[row, column], 1]
                t, rx, ry = _foot(verts[b], i, j, centre(column, size), centre(row, size))
                a = alpha[b, row, column]
                weight = grad[b, row, column] * a * (ONE - a) * (-scale if covered[row, column] else scale)
                grad_verts[b, i, 0] += weight * (ONE - t) * rx
                grad_verts[b, i, 1] += weight * (ONE - t) * ry
                grad_verts[b, j, 0] += weight * t * rx
                grad_verts[b, j, 1] += weight * t * ry


@inlined
def _buffers(size):  # type: ignore[no-untyped-def]
    """Hard coverage, squared distance to the contour and nearest edge of each pixel; a strip may end beyond a row."""
    shape = (size, size + LANES)
    return np.zeros((size, size), np.bool_), np.zeros(shape, np.float32), np.zeros(shape, np.int32)


@kernel
def _find_contour(  # type: ignore[no-untyped-def]
    verts, faces, edges, own, first_side, side_face, along, sigma, covered, nearest, winner
):
    """Fill ``covered``, ``nearest`` and ``winner`` (index of the nearest edge, -1 beyond the blur's reach).

    First every pixel takes the nearest candidate. A covered pixel's may run inside the silhouette: where it does the
    pixel is searched again, among the candidates that do not.
    """
    size = covered.shape[0]
    cut = np.float32(CUT * sigma)
    turns = np.zeros(faces.shape[0], np.int8)
    for f in range(faces.shape[0]):
        turns[f] = orientation(verts, faces[f])
    candidates, side = np.zeros(own[1] - own[0], np.int32), np.zeros(own[1] - own[0], np.int8)
    count = 0
    for edge in range(own[0], own[1]):
        free = _free_side(first_side[edge], first_side[edge + 1], side_face, along, turns)
        if free != 0:
            candidates[count], side[count] = edge, free
            count += 1
    _cover(verts, faces, turns, covered)
    tiles = _faces_by_tile(verts, faces, turns, size)
    nearest[:] = cut
    winner[:] = -1
    for n in range(count):
        _offer(verts, edges[candidates[n]], n, cut, nearest, winner)
    again = np.zeros((size, size), np.bool_)
    hidden = False
    for row in range(size):
        for column in range(size):
            n = winner[row, column]
            if n >= 0 and covered[row, column]:
                ends = edges[candidates[n]]
                t, _, _ = _foot(verts, ends[0], ends[1], centre(column, size), centre(row, size))
                if _is_hidden(verts, faces, ends, side[n], t, tiles, size):
                    nearest[row, column], winner[row, column] = cut, -1
                    again[row, column] = hidden = True
    if hidden:
        for n in range(count):
            _offer_again(verts, faces, edges[candidates[n]], side[n], n, cut, again, tiles, nearest, winner)
    for row in range(size):
        for column in range(size):
            if winner[row, column] >= 0:
                winner[row, column] = candidates[winner[row, column]]


@kernel
def _offer(verts, ends, number, cut, nearest, winner):  # type: ignore[no-untyped-def]
    """Make edge ``number`` the winner of all pixels to which it is nearer than those before it."""
    size = nearest.shape[0]
    margin, pixel = np.float32(1.0001 * math.sqrt(cut)), np.float32(2 / size)
    ux, uy, wx, wy = verts[ends[0], 0], verts[ends[0], 1], verts[ends[1], 0], verts[ends[1], 1]
    x0, x1 = span(min(ux, wx) - margin, max(ux, wx) + margin, size)
    y0, y1 = span(min(uy, wy) - margin, max(uy, wy) + margin, size)
    for x in range(x0, x1, LANES):
        edge = edge_at((ux, uy), (wx, wy), centre(x, size), centre(y0, size))
        low, high = rows_inside(edge, margin, pixel, ZERO, np.float32(y1 - y0 - 1))
        back = edge_at((wx, wy), (ux, uy), centre(x, size), centre(y0, size))
        low, high = rows_inside(back, margin, pixel, low, high)
        for row in range(int(low), int(high) + 1):
            _, _, half, s, t = lower(edge, np.float32(row) * pixel)
            best, holder = nearest[y0 + row, x : x + LANES], winner[y0 + row, x : x + LANES]
            for n in range(LANES):
                right = COLUMN[n] * pixel
                across, along = s + right * edge[1], t - right * edge[0]
                beyond = along - min(max(along, -half), half)
                squared = across * across + beyond * beyond
                closer = squared < best[n]
                best[n] = squared if closer else best[n]
                holder[n] = number if closer else holder[n]


@kernel
def _offer_again(verts, faces, ends, side, number, cut, again, tiles, nearest, winner):  # type: ignore[no-untyped-def]
    """As ``_offer``, for the pixels of ``again`` alone, and only where the edge does not run inside the silhouette."""
    size = again.shape[0]
    margin = np.float32(1.0001 * math.sqrt(cut))
    ux, uy, wx, wy = verts[ends[0], 0], verts[ends[0], 1], verts[ends[1], 0], verts[ends[1], 1]
    x0, x1 = span(min(ux, wx) - margin, max(ux, wx) + margin, size)
    y0, y1 = span(min(uy, wy) - margin, max(uy, wy) + margin, size)
    for row in range(y0, y1):
        for column in range(x0, x1):
            if again[row, column]:
                t, rx, ry = _foot(verts, ends[0], ends[1], centre(column, size), centre(row, size))
                squared = rx * rx + ry * ry
                if squared < nearest[row, column] and not _is_hidden(verts, faces, ends, side, t, tiles, size):
                    nearest[row, column], winner[row, column] = squared, number


@inlined
def _foot(verts, i, j, px, py):  # type: ignore[no-untyped-def]
    """The point of an edge nearest to p: its share t of the way from vertex i to j, and the offset of p from it."""
    ex, ey = verts[j, 0] - verts[i, 0], verts[j, 1] - verts[i, 1]
    qx, qy = px - verts[i, 0], py - verts[i, 1]
    t = min(max((qx * ex + qy * ey) / (ex * ex + ey * ey), ZERO), ONE)
    return t, qx - t * ex, qy - t * ey


@inlined
def _free_side(begin, end, side_face, along, orientation):  # type: ignore[no-untyped-def]
    """On which side all faces of an edge lie (1 left, -1 right); 0 if on both, or if no face is drawn."""
    left = right = False
    for s in range(begin, end):
        side = orientation[side_face[s]] * along[s]
        left |= side > 0
        right |= side < 0
    return int(left) - int(right)


@exact_kernel
def _cover(verts, faces, turns, covered):  # type: ignore[no-untyped-def]
    """Which pixel centres lie in a face or on its border.

    In each row a face covers the pixels between two of its edges. An edge meets a row at one number, whichever of its
    faces asks, so neighbours leave no gap.
    """
    size = covered.shape[0]
    covered[:] = False
    half, end = 0.5 * size, size - 1.0
    for f in range(faces.shape[0]):
        if turns[f] == 0:
            continue
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay = (1.0 - verts[i, 0]) * half - 0.5, (1.0 - verts[i, 1]) * half - 0.5
        bx, by = (1.0 - verts[j, 0]) * half - 0.5, (1.0 - verts[j, 1]) * half - 0.5
        cx, cy = (1.0 - verts[k, 0]) * half - 0.5, (1.0 - verts[k, 1]) * half - 0.5
        ab, bc, ca = _rising(ax, ay, bx, by), _rising(bx, by, cx, cy), _rising(cx, cy, ax, ay)
        top, bottom = math.ceil(max(min(ay, by, cy), 0.0)), math.floor(min(max(ay, by, cy), end))
        for row in range(top, bottom + 1):
            left, right = _meet(ab, row, np.inf, -np.inf)
            left, right = _meet(bc, row, left, right)
            left, right = _meet(ca, row, left, right)
            for column in range(math.ceil(max(left, 0.0)), math.floor(min(right, end)) + 1):
                covered[row, column] = True


@exact_inlined
def _rising(ux, uy, wx, wy):  # type: ignore[no-untyped-def]
    """An edge in pixels, its lower row first, and columns a row; the same for both its faces."""
    if uy > wy:
        ux, uy, wx, wy = wx, wy, ux, uy
    return ux, uy, wx, wy, (wx - ux) / (wy - uy) if uy < wy else 0.0


@exact_inlined
def _meet(edge, row, left, right):  # type: ignore[no-untyped-def]
    """Widen left..right by the column where an edge meets a row."""
    ux, uy, wx, wy, slope = edge
    if row < uy or row > wy or uy == wy:
        return left, right
    x = wx if row == wy else ux + (row - uy) * slope
    return min(left, x), max(right, x)


@inlined
def _is_hidden(verts, faces, ends, side, t, tiles, size):  # type: ignore[no-untyped-def]
    """Whether a face covers the free side of an edge at t: the point is ``reference.point_beside``."""
    ux, uy, wx, wy = verts[ends[0], 0], verts[ends[0], 1], verts[ends[1], 0], verts[ends[1], 1]
    ex, ey = wx - ux, wy - uy
    length = math.sqrt(ex * ex + ey * ey)
    delta = np.float32(BESIDE * 2 / size)
    from_ends = min(np.float32(8) * delta / length, np.float32(0.5))
    t = min(max(t, from_ends), ONE - from_ends)
    out = np.float32(side) * delta / length
    return _is_covered(ux + t * ex + out * ey, uy + t * ey - out * ex, verts, faces, tiles, size)


@exact_kernel
def _is_covered(x, y, verts, faces, tiles, size):  # type: ignore[no-untyped-def]
    """Whether a face covers the point."""
    begin, listed = tiles
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


@exact_kernel
def _tiles(low, high, size):  # type: ignore[no-untyped-def]
    """First and last tile of an NDC interval; what is beyond the image belongs to the outermost tiles."""
    last = (size - 1) // TILE
    scale = 0.5 * size / TILE
    return int(min(max((1.0 - high) * scale, 0.0), last)), int(min(max((1.0 - low) * scale, 0.0), last))


@exact_kernel
def _faces_by_tile(verts, faces, turns, size):  # type: ignore[no-untyped-def]
    """For each tile where its faces begin in the second array, which lists them."""
    across = (size - 1) // TILE + 1
    boxes = np.zeros((faces.shape[0], 4), dtype=np.int32)
    begin = np.zeros(across * across + 2, dtype=np.int64)
    for f in range(faces.shape[0]):
        if turns[f] == 0:
            continue
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, x1 = _tiles(min(verts[i, 0], verts[j, 0], verts[k, 0]), max(verts[i, 0], verts[j, 0], verts[k, 0]), size)
        y0, y1 = _tiles(min(verts[i, 1], verts[j, 1], verts[k, 1]), max(verts[i, 1], verts[j, 1], verts[k, 1]), size)
        boxes[f, 0], boxes[f, 1], boxes[f, 2], boxes[f, 3] = x0, x1, y0, y1
        for row in range(y0, y1 + 1):
            for column in range(x0, x1 + 1):
                begin[row * across + column + 2] += 1
    for n in range(1, len(begin)):
        begin[n] += begin[n - 1]
    listed = np.zeros(begin[-1], dtype=np.int32)
    for f in range(faces.shape[0]):
        if turns[f] != 0:
            for row in range(boxes[f, 2], boxes[f, 3] + 1):
                for column in range(boxes[f, 0], boxes[f, 1] + 1):
                    listed[begin[row * across + column + 1]] = f
                    begin[row * across + column + 1] += 1
    return begin, listed
