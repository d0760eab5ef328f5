"""Numba kernels of the product mode: face by face, over the pixels near each face."""

from __future__ import annotations

import math

import numba
import numpy as np

from shape3d_amodal.rendering.reference import AREA, NEAR, blur_radius

CUT = blur_radius(1.0)

_kernel = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "arcp", "nsz", "afn"})


@_kernel
def forward(verts, faces, sigma, alpha, first, last):  # type: ignore[no-untyped-def]
    """Write the silhouettes of images first..last - 1 into ``alpha`` [B,H,W]."""
    size = alpha.shape[1]
    radius2 = np.float32(CUT * sigma)
    margin = np.float32(math.sqrt(radius2))
    scale = np.float32(1.0 / sigma)
    pixel = np.float32(2.0 / size)
    one = np.float32(1.0)
    for b in range(first, last):
        clear = alpha[b]
        clear[:] = one
        set_of_faces = faces[min(b, faces.shape[0] - 1)]
        for f in range(set_of_faces.shape[0]):
            ok, ax, ay, bx, by, cx, cy = _corners(verts[b], set_of_faces[f])
            if not ok:
                continue
            x0, x1 = _span(min(ax, bx, cx) - margin, max(ax, bx, cx) + margin, size)
            y0, y1 = _span(min(ay, by, cy) - margin, max(ay, by, cy) + margin, size)
            for row in range(y0, y1):
                py = one - (row + np.float32(0.5)) * pixel
                for column in range(x0, x1):
                    if clear[row, column] < np.float32(1e-9):
                        continue
                    px = one - (column + np.float32(0.5)) * pixel
                    inside, d2, _, _, _, _ = _boundary(px, py, ax, ay, bx, by, cx, cy)
                    if inside:
                        clear[row, column] /= one + math.exp(min(d2 * scale, np.float32(80.0)))
                    elif d2 < radius2:
                        clear[row, column] /= one + math.exp(-d2 * scale)
        for row in range(size):
            for column in range(size):
                clear[row, column] = one - clear[row, column]


@_kernel
def backward(verts, faces, sigma, alpha, grad, grad_verts, first, last):  # type: ignore[no-untyped-def]
    """Add the gradient of images first..last - 1 to ``grad_verts`` [B,V,3]."""
    size = alpha.shape[1]
    radius2 = np.float32(CUT * sigma)
    margin = np.float32(math.sqrt(radius2))
    scale = np.float32(1.0 / sigma)
    pixel = np.float32(2.0 / size)
    one = np.float32(1.0)
    for b in range(first, last):
        set_of_faces = faces[min(b, faces.shape[0] - 1)]
        for f in range(set_of_faces.shape[0]):
            ok, ax, ay, bx, by, cx, cy = _corners(verts[b], set_of_faces[f])
            if not ok:
                continue
            x0, x1 = _span(min(ax, bx, cx) - margin, max(ax, bx, cx) + margin, size)
            y0, y1 = _span(min(ay, by, cy) - margin, max(ay, by, cy) + margin, size)
            gax = gay = gbx = gby = gcx = gcy = np.float32(0.0)
            for row in range(y0, y1):
                py = one - (row + np.float32(0.5)) * pixel
                for column in range(x0, x1):
                    weight = grad[b, row, column] * (one - alpha[b, row, column])
                    if weight == 0.0:
                        continue
                    px = one - (column + np.float32(0.5)) * pixel
                    inside, d2, edge, t, rx, ry = _boundary(px, py, ax, ay, bx, by, cx, cy)
                    if not inside and d2 >= radius2:
                        continue
                    sign = one if inside else -one
                    weight *= (
                        np.float32(-2.0) * sign * scale / (one + math.exp(max(-sign * d2 * scale, np.float32(-80.0))))
                    )
                    ux, uy = weight * (one - t) * rx, weight * (one - t) * ry
                    wx, wy = weight * t * rx, weight * t * ry
                    if edge == 0:
                        gax, gay, gbx, gby = gax + ux, gay + uy, gbx + wx, gby + wy
                    elif edge == 1:
                        gbx, gby, gcx, gcy = gbx + ux, gby + uy, gcx + wx, gcy + wy
                    else:
                        gcx, gcy, gax, gay = gcx + ux, gcy + uy, gax + wx, gay + wy
            i, j, k = set_of_faces[f, 0], set_of_faces[f, 1], set_of_faces[f, 2]
            grad_verts[b, i, 0] += gax
            grad_verts[b, i, 1] += gay
            grad_verts[b, j, 0] += gbx
            grad_verts[b, j, 1] += gby
            grad_verts[b, k, 0] += gcx
            grad_verts[b, k, 1] += gcy


@_kernel
def _corners(verts, face):  # type: ignore[no-untyped-def]
    """Whether a face counts (finite, in front, not edge-on), and its corners on the screen."""
    i, j, k = face[0], face[1], face[2]
    ax, ay, bx, by, cx, cy = verts[i, 0], verts[i, 1], verts[j, 0], verts[j, 1], verts[k, 0], verts[k, 1]
    near = min(verts[i, 2], verts[j, 2], verts[k, 2])
    total = ax + ay + bx + by + cx + cy + verts[i, 2] + verts[j, 2] + verts[k, 2]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    ok = math.isfinite(total) and near >= NEAR and abs(area) > AREA
    return ok, ax, ay, bx, by, cx, cy


@_kernel
def _span(low, high, size):  # type: ignore[no-untyped-def]
    """Pixels [first, end) whose centres may lie between the NDC coordinates low and high (pixels run against NDC)."""
    half = np.float32(0.5) * size
    first = math.floor(min(max((np.float32(1.0) - high) * half - np.float32(0.5), np.float32(0.0)), np.float32(size)))
    end = math.ceil(min(max((np.float32(1.0) - low) * half + np.float32(0.5), np.float32(0.0)), np.float32(size)))
    return int(first), int(end)


@_kernel
def _segment(px, py, ux, uy, wx, wy):  # type: ignore[no-untyped-def]
    """Squared distance of p to the segment (u, w), its parameter t in 0..1, the offset r, and the side of p."""
    ex, ey, qx, qy = wx - ux, wy - uy, px - ux, py - uy
    t = (qx * ex + qy * ey) / (ex * ex + ey * ey)
    t = min(max(t, np.float32(0.0)), np.float32(1.0))
    rx, ry = qx - t * ex, qy - t * ey
    return rx * rx + ry * ry, t, rx, ry, ex * qy - ey * qx


@_kernel
def _boundary(px, py, ax, ay, bx, by, cx, cy):  # type: ignore[no-untyped-def]
    """Whether p is inside, squared distance to the boundary, and the nearest edge with its t and offset."""
    d2, t, rx, ry, side_a = _segment(px, py, ax, ay, bx, by)
    edge = 0
    other, s, sx, sy, side_b = _segment(px, py, bx, by, cx, cy)
    if other < d2:
        d2, t, rx, ry, edge = other, s, sx, sy, 1
    other, s, sx, sy, side_c = _segment(px, py, cx, cy, ax, ay)
    if other < d2:
        d2, t, rx, ry, edge = other, s, sx, sy, 2
    inside = (side_a > 0 and side_b > 0 and side_c > 0) or (side_a < 0 and side_b < 0 and side_c < 0)
    return inside, d2, edge, t, rx, ry
