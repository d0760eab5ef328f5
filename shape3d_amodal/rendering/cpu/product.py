"""Numba kernels of the product mode.

Face by face, over strips of eight columns through the pixels near each face. Along a strip all that the formula needs
of an edge is linear in the pixel: the distance s to its line, positive inside, and the coordinate t along it, counted
from its middle. With h half its length, the squared distance to the edge is s^2 + (t - clamp(t, -h, h))^2. So the
innermost loops have no branch, and the compiler turns them into vector instructions; 2^x is a polynomial for the same
reason.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from shape3d_amodal.rendering.cpu.geometry import (
    COLUMN,
    FAST,
    HALF,
    LANES,
    ONE,
    ZERO,
    edge_at,
    inlined,
    kernel,
    lower,
    orientation,
    rows_inside,
    span,
)
from shape3d_amodal.rendering.reference import blur_radius

CUT = blur_radius(1.0)
LEAST = np.float32(1e-12)
# Built on geometry 16cd8b7b

# Sums may be reordered into lanes, but only here: reordered, the rounding in _power_of_two would cancel out.
_summing_kernel = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={*FAST, "reassoc"})


@kernel
def forward(verts, faces, sigma, alpha, first, last):  # type: ignore[no-untyped-def]
    """Write the silhouettes of images first..last - 1 into ``alpha`` [B,H,W]."""
    size = alpha.shape[1]
    cut, scale, margin, pixel = _constants(sigma, size)
    clear = np.ones((size, size + LANES), dtype=np.float32)  # prod_j (1 - sigmoid(x_j)); a strip may end beyond a row
    for b in range(first, last):
        clear[:] = ONE
        mesh = faces[min(b, faces.shape[0] - 1)]
        for f in range(mesh.shape[0]):
            drawn, corners, box, _ = _place(verts[b], mesh[f], margin, size)
            if not drawn:
                continue
            for x in range(box[0], box[1], LANES):
                edges, top, end = _strip(corners, box, x, margin, pixel)
                for row in range(top, end):
                    _attenuate(clear[row, x : x + LANES], edges, np.float32(row - top) * pixel, pixel, scale, cut)
        for row in range(size):
            for column in range(size):
                alpha[b, row, column] = ONE - clear[row, column]


@inlined
def _attenuate(clear, edges, down, pixel, scale, cut):  # type: ignore[no-untyped-def]
    """Multiply ``LANES`` pixels of a row, ``down`` below the strip's top, by a face's 1 - sigmoid(+-d^2 / sigma)."""
    (ax, ay, ah, s0, t0), (bx, by, bh, s1, t1), (cx, cy, ch, s2, t2) = edges
    s0, t0, s1, t1 = s0 - down * ax, t0 - down * ay, s1 - down * bx, t1 - down * by
    s2, t2 = s2 - down * cx, t2 - down * cy
    for n in range(LANES):
        right = COLUMN[n] * pixel
        sa, ta = s0 + right * ay, t0 - right * ax
        sb, tb = s1 + right * by, t1 - right * bx
        sc, tc = s2 + right * cy, t2 - right * cx
        ra, rb, rc = ta - min(max(ta, -ah), ah), tb - min(max(tb, -bh), bh), tc - min(max(tc, -ch), ch)
        squared = min(min(sa * sa + ra * ra, sb * sb + rb * rb), sc * sc + rc * rc)
        e = _power_of_two(max(-squared * scale, np.float32(-40)))
        share = ONE / (ONE + e)
        outside = share if squared < cut else ONE
        factor = e * share if min(min(sa, sb), sc) > ZERO else outside
        clear[n] = max(clear[n] * factor, LEAST)


@kernel
def backward(verts, faces, sigma, alpha, grad, grad_verts, first, last):  # type: ignore[no-untyped-def]
    """Add the gradient of images first..last - 1 to ``grad_verts`` [B,V,3]."""
    size = alpha.shape[1]
    cut, scale, margin, pixel = _constants(sigma, size)
    factor = np.float32(2 / sigma)
    weight = np.zeros((size, size + LANES), dtype=np.float32)
    strip = np.zeros(size * LANES, dtype=np.float32)
    right, down = np.zeros_like(strip), np.zeros_like(strip)
    for n in range(size * LANES):
        right[n], down[n] = np.float32(n % LANES) * pixel, np.float32(n // LANES) * pixel
    for b in range(first, last):
        for row in range(size):
            for column in range(size):
                weight[row, column] = factor * grad[b, row, column] * (ONE - alpha[b, row, column])
        mesh = faces[min(b, faces.shape[0] - 1)]
        for f in range(mesh.shape[0]):
            drawn, corners, box, (i, j, k) = _place(verts[b], mesh[f], margin, size)
            if not drawn:
                continue
            for x in range(box[0], box[1], LANES):
                edges, top, end = _strip(corners, box, x, margin, pixel)
                for row in range(top, end):
                    source, copy = weight[row, x : x + LANES], strip[(row - top) * LANES : (row - top + 1) * LANES]
                    for n in range(LANES):
                        copy[n] = source[n]
                a_sums, b_sums, c_sums = _sums(strip, right, down, max(end - top, 0) * LANES, edges, scale, cut)
                _add(grad_verts[b], i, j, edges[0], a_sums)
                _add(grad_verts[b], j, k, edges[1], b_sums)
                _add(grad_verts[b], k, i, edges[2], c_sums)


@_summing_kernel
def _sums(weight, right, down, count, edges, scale, cut):  # type: ignore[no-untyped-def]
    """For each edge the sums, over the pixels it is nearest to, of g s, g r, g s t and g r t (t clamped).

    g = -+weight sigmoid(x) is the gradient by the squared distance; the offset from the edge is s along its normal and
    r = t - clamp(t) along the edge itself.
    """
    (ax, ay, ah, s0, t0), (bx, by, bh, s1, t1), (cx, cy, ch, s2, t2) = edges
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = ZERO
    for n in range(count):
        sa, ta = s0 - down[n] * ax + right[n] * ay, t0 - down[n] * ay - right[n] * ax
        sb, tb = s1 - down[n] * bx + right[n] * by, t1 - down[n] * by - right[n] * bx
        sc, tc = s2 - down[n] * cx + right[n] * cy, t2 - down[n] * cy - right[n] * cx
        ka, kb, kc = min(max(ta, -ah), ah), min(max(tb, -bh), bh), min(max(tc, -ch), ch)
        ra, rb, rc = ta - ka, tb - kb, tc - kc
        da, db, dc = sa * sa + ra * ra, sb * sb + rb * rb, sc * sc + rc * rc
        squared = min(min(da, db), dc)
        e = _power_of_two(max(-squared * scale, np.float32(-40)))
        share = ONE / (ONE + e)
        outside = e * share if squared < cut else ZERO
        g = weight[n] * (-share if min(min(sa, sb), sc) > ZERO else outside)
        nearest_a, nearest_c = da <= min(db, dc), dc < min(da, db)
        ga, gc = g if nearest_a else ZERO, g if nearest_c else ZERO
        gb = ZERO if nearest_a or nearest_c else g
        a0, a1, a2, a3 = a0 + ga * sa, a1 + ga * ra, a2 + ga * sa * ka, a3 + ga * ra * ka
        b0, b1, b2, b3 = b0 + gb * sb, b1 + gb * rb, b2 + gb * sb * kb, b3 + gb * rb * kb
        c0, c1, c2, c3 = c0 + gc * sc, c1 + gc * rc, c2 + gc * sc * kc, c3 + gc * rc * kc
    return (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3)


@inlined
def _add(grad_verts, u, w, edge, sums):  # type: ignore[no-untyped-def]
    """Add an edge's part to the gradient of its ends: the nearest point lies (1/2 + t / 2h) of the way from u to w."""
    x, y, half, _, _ = edge
    across, along, across_t, along_t = sums
    w_across, w_along = HALF * (across + across_t / half), HALF * (along + along_t / half)
    u_across, u_along = across - w_across, along - w_along
    grad_verts[u, 0] += u_along * x - u_across * y
    grad_verts[u, 1] += u_along * y + u_across * x
    grad_verts[w, 0] += w_along * x - w_across * y
    grad_verts[w, 1] += w_along * y + w_across * x


@inlined
def _constants(sigma, size):  # type: ignore[no-untyped-def]
    """Squared reach of a face, factor from d^2 to the exponent of 2, reach, and the width of a pixel, in NDC."""
    cut = np.float32(CUT * sigma)
    return cut, np.float32(1 / (math.log(2.0) * sigma)), np.float32(1.0001 * math.sqrt(cut)), np.float32(2 / size)


@inlined
def _place(verts, face, margin, size):  # type: ignore[no-untyped-def]
    """Whether a face counts and touches the image, its corners on the screen and their indices, wound to the left, and
    the box of columns and rows [x0, x1) x [y0, y1) that it may touch."""
    i, j, k = face[0], face[1], face[2]
    turn = orientation(verts, face)
    if turn == 0:
        return False, ((ZERO, ZERO), (ZERO, ZERO), (ZERO, ZERO)), (0, 0, 0, 0), (i, j, k)
    ax, ay, bx, by, cx, cy = verts[i, 0], verts[i, 1], verts[j, 0], verts[j, 1], verts[k, 0], verts[k, 1]
    x0, x1 = span(min(ax, bx, cx) - margin, max(ax, bx, cx) + margin, size)
    y0, y1 = span(min(ay, by, cy) - margin, max(ay, by, cy) + margin, size)
    if turn < 0:
        bx, by, cx, cy, j, k = cx, cy, bx, by, k, j
    return x0 < x1 and y0 < y1, ((ax, ay), (bx, by), (cx, cy)), (x0, x1, y0, y1), (i, j, k)


@inlined
def _strip(corners, box, x, margin, pixel):  # type: ignore[no-untyped-def]
    """The edges as seen from the first pixel of the strip of columns x..x + 7, and its rows [top, end) that matter."""
    a, b, c = corners
    x0, x1, top, end = box
    px, py = ONE - (np.float32(x) + HALF) * pixel, ONE - (np.float32(top) + HALF) * pixel
    edges = edge_at(a, b, px, py), edge_at(b, c, px, py), edge_at(c, a, px, py)
    if x1 - x0 <= LANES:
        return edges, top, end
    low, high = ZERO, np.float32(end - top - 1)
    low, high = rows_inside(edges[0], margin, pixel, low, high)
    low, high = rows_inside(edges[1], margin, pixel, low, high)
    low, high = rows_inside(edges[2], margin, pixel, low, high)
    skipped = int(low)
    down = np.float32(skipped) * pixel
    edges = lower(edges[0], down), lower(edges[1], down), lower(edges[2], down)
    return edges, top + skipped, top + int(high) + 1


@inlined
def _power_of_two(x):  # type: ignore[no-untyped-def]
    """2^x for -126 <= x < 128, to 2e-7: a minimax polynomial of the fraction, and the whole part as the exponent."""
    rounded = x + np.float32(12583039)  # 1.5 * 2^23 + 127: the last bits now hold the whole part of x, biased by 127
    part = x - (rounded - np.float32(12583039))
    p = np.float32(1.327647e-3)
    p = p * part + np.float32(9.675542e-3)
    p = p * part + np.float32(5.550713e-2)
    p = p * part + np.float32(2.4022120e-1)
    p = p * part + np.float32(6.9314694e-1)
    p = p * part + ONE
    return p * _with_exponent_bits(rounded)


@intrinsic
def _with_exponent_bits(typing_context: Any, number: Any) -> Any:  # noqa: ARG001
    """The float32 whose exponent are the last eight bits of ``number``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        bits = builder.bitcast(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(bits, ir.IntType(32)(23)), ir.FloatType())

    return types.float32(types.float32), code
