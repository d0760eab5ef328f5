"""What the numba kernels of both modes share: which faces count, and edges as seen from pixels.

Numba's cache of a kernel notices changes of the kernel's own file only, so those files state the digest of this one;
``tests/rendering/test_cpu_cache.py`` says which.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from shape3d_amodal.rendering.reference import AREA, FAR, NEAR

LANES = 8  # pixels that the innermost loops take at a time
COLUMN = np.arange(LANES, dtype=np.float32)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

FAST = {"contract", "arcp", "nsz", "afn"}  # of the flags for fast mathematics those that leave NaN and order alone
kernel = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
inlined = numba.njit(nogil=True, error_model="numpy", fastmath=FAST, forceinline=True)
# A product fused with a sum is not rounded the same from both sides of an edge, and leaves a face of repeated vertices
# an area. It must be said, for what says nothing takes its caller's flags.
exact_kernel = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=False)
exact_inlined = numba.njit(nogil=True, error_model="numpy", fastmath=False, forceinline=True)


@exact_inlined
def orientation(verts, face):  # type: ignore[no-untyped-def]
    """1 or -1 for a face wound to the left or right on the screen, 0 if it does not count: it is not finite, has a
    vertex behind the near plane, or is edge-on."""
    i, j, k = face[0], face[1], face[2]
    ax, ay, az = verts[i, 0], verts[i, 1], verts[i, 2]
    bx, by, bz = verts[j, 0], verts[j, 1], verts[j, 2]
    cx, cy, cz = verts[k, 0], verts[k, 1], verts[k, 2]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    extent = abs(ax) + abs(ay) + abs(az) + abs(bx) + abs(by) + abs(bz) + abs(cx) + abs(cy) + abs(cz)
    if extent < FAR and min(az, bz, cz) >= NEAR and abs(area) > AREA:  # false for NaN
        return 1 if area > 0 else -1
    return 0


@inlined
def centre(index, size):  # type: ignore[no-untyped-def]
    """NDC coordinate of the centre of a column or row."""
    return ONE - (np.float32(index) + HALF) * np.float32(2 / size)


@inlined
def span(low, high, size):  # type: ignore[no-untyped-def]
    """Pixels [first, end) whose centres may lie between the NDC coordinates low and high (pixels run against NDC)."""
    half, end = HALF * np.float32(size), np.float32(size)
    return (
        math.floor(min(max((ONE - high) * half - HALF, ZERO), end)),
        math.ceil(min(max((ONE - low) * half + HALF, ZERO), end)),
    )


@inlined
def edge_at(u, w, px, py):  # type: ignore[no-untyped-def]
    """Unit direction and half length of an edge, and s and t at the pixel p."""
    x, y = w[0] - u[0], w[1] - u[1]
    length = math.sqrt(x * x + y * y)
    x, y = x / length, y / length
    qx, qy = px - u[0], py - u[1]
    return x, y, HALF * length, x * qy - y * qx, x * qx + y * qy - HALF * length


@inlined
def lower(edge, down):  # type: ignore[no-untyped-def]
    """The edge as seen from ``down`` below."""
    x, y, half, s, t = edge
    return x, y, half, s - down * x, t - down * y


@inlined
def rows_inside(edge, margin, pixel, low, high):  # type: ignore[no-untyped-def]
    """The part of the rows low..high where a strip comes as near as ``margin`` to the inner side of an edge."""
    x, y, _, s, _ = edge
    value, step = s + margin + max(y * pixel * np.float32(LANES - 1), ZERO), -x * pixel
    if step > 0:
        return max(low, min(-value / step, high + ONE)), high
    if step < 0:
        return low, min(high, max(-value / step, low - ONE))
    return low, high if value >= 0 else low - ONE
