"""Hard silhouettes as bits: a row of pixels is a few 64-bit words, so drawing and comparing cost little.

A pose is a row of ``POSE`` float32 numbers (``poses``). Kernels draw on a grid of n x n samples that lie ``stride``
image pixels apart, the first one at (x0, y0): the centres of some of the image's own pixels. So the right pose of the
right mesh gives the very mask that a renderer of the image would give.

Numba's cache of a kernel notices changes of the kernel's own file only, so files whose kernels call these state the
digest of this one; ``tests/priors/bank/test_kernel_cache.py`` says which.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

FAST = {"contract", "arcp", "nsz", "afn"}  # of the flags for fast mathematics those that leave NaN and order alone
WORD = 64
"""Pixels a word."""
NEAREST = np.float32(1e-3)
"""Vertices nearer to the camera than this share of the object's distance are drawn as if they were there."""
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_BEYOND = np.float32(1e6)
"""Samples are not told apart farther away than this, where they would not fit whole numbers."""


@intrinsic
def popcount(_context: Any, _word: Any) -> Any:
    """How many bits of a 64-bit word are set."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Masks [...,H,W] bool as bits [...,H,words] uint64; column c is bit c % 64 of word c // 64."""
    width = mask.shape[-1]
    words = -(-width // WORD)
    padded = np.zeros((*mask.shape[:-1], words * WORD), bool)
    padded[..., :width] = mask
    return np.packbits(padded, axis=-1, bitorder="little").view(np.uint64)


def unpack(bits: NDArray[np.uint64], width: int) -> NDArray[np.bool_]:
    """The inverse of ``pack``: masks [...,H,width] bool."""
    packed = np.ascontiguousarray(bits).view(np.uint8)
    return np.unpackbits(packed, axis=-1, bitorder="little")[..., :width].astype(bool)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def to_samples(verts, pose, grid, screen):  # type: ignore[no-untyped-def]
    """Write for each vertex its column and row on the grid, and its distance relative to the object's, inverted."""
    x0, y0, stride = grid
    scale, u, v, distance, cx, cy, aspect = pose[9], pose[10], pose[11], pose[12], pose[13], pose[14], pose[15]
    for i in range(len(verts)):
        x, y, z = verts[i, 0], verts[i, 1], verts[i, 2]
        forward = pose[6] * x + pose[7] * y + pose[8] * z
        nearness = distance / max(distance + forward, NEAREST * distance)
        right = (u - cx) + aspect * scale * (pose[0] * x + pose[1] * y + pose[2] * z)
        down = (v - cy) + scale * (pose[3] * x + pose[4] * y + pose[5] * z)
        screen[i, 0] = min(max((cx + nearness * right - x0) / stride, -_BEYOND), _BEYOND)
        screen[i, 1] = min(max((cy + nearness * down - y0) / stride, -_BEYOND), _BEYOND)
        screen[i, 2] = nearness


@numba.njit(nogil=True, error_model="numpy", fastmath=FAST, inline="always")
def by_row(screen, i, j, k):  # type: ignore[no-untyped-def]
    """A face's corners (column, row), the uppermost first."""
    ax, ay, bx, by, cx, cy = screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1], screen[k, 0], screen[k, 1]
    if ay > by:
        ax, ay, bx, by = bx, by, ax, ay
    if by > cy:
        bx, by, cx, cy = cx, cy, bx, by
    if ay > by:
        ax, ay, bx, by = bx, by, ax, ay
    return ax, ay, bx, by, cx, cy


@numba.njit(nogil=True, error_model="numpy", fastmath=FAST, inline="always")
def columns_of(corners, row, last):  # type: ignore[no-untyped-def]
    """First and last column, at most ``last``, whose centres a face covers in a row that it meets."""
    ax, ay, bx, by, cx, cy = corners
    y = np.float32(row)
    long = ax + (y - ay) * (cx - ax) / (cy - ay) if cy > ay else ax
    if y < by or cy == by:
        short = ax + (y - ay) * (bx - ax) / (by - ay) if by > ay else bx
    else:
        short = bx + (y - by) * (cx - bx) / (cy - by)
    left, right = min(long, short), max(long, short)
    return math.ceil(max(left, np.float32(0))), math.floor(min(right, last))


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def draw(verts, faces, pose, grid, screen, bits):  # type: ignore[no-untyped-def]
    """Draw one mesh, verts [V,3] and faces [F,3], into ``bits`` [n,words]."""
    size, words = bits.shape
    to_samples(verts, pose, grid, screen)
    bits[:] = 0
    last, last_column = np.float32(size - 1), np.float32(min(size, words * WORD) - 1)
    for f in range(len(faces)):
        corners = by_row(screen, faces[f, 0], faces[f, 1], faces[f, 2])
        top, bottom = math.ceil(max(corners[1], np.float32(0))), math.floor(min(corners[5], last))
        for row in range(top, bottom + 1):
            first, end = columns_of(corners, row, last_column)
            if first > end:
                continue
            word, final = first >> 6, end >> 6
            head, tail = _ALL << np.uint64(first & 63), _ALL >> np.uint64(63 - (end & 63))
            if word == final:
                bits[row, word] |= head & tail
            else:
                bits[row, word] |= head
                for middle in range(word + 1, final):
                    bits[row, middle] = _ALL
                bits[row, final] |= tail


@numba.njit(nogil=True, cache=True)
def draw_all(verts, first_vert, faces, first_face, mesh, poses, grid, out):  # type: ignore[no-untyped-def]
    """Draw mesh ``mesh[k]`` of a table at ``poses[k]`` into ``out[k]`` [n,words], for each k."""
    screen = np.empty((most_verts(first_vert), 3), np.float32)
    for k in range(len(poses)):
        m = mesh[k]
        own = faces[first_face[m] : first_face[m + 1]]
        draw(verts[first_vert[m] : first_vert[m + 1]], own, poses[k], grid, screen, out[k])


@numba.njit(nogil=True, cache=True)
def count_all(verts, first_vert, faces, first_face, mesh, poses, grid, visible, outside, out):  # type: ignore[no-untyped-def]
    """For each pose write how many visible samples its silhouette covers, and how many known to be outside.

    Args:
        visible, outside: [n,words] uint64.
        out: [K,2] float64.
    """
    screen = np.empty((most_verts(first_vert), 3), np.float32)
    bits = np.empty(visible.shape, np.uint64)
    for k in range(len(poses)):
        m = mesh[k]
        own = faces[first_face[m] : first_face[m + 1]]
        draw(verts[first_vert[m] : first_vert[m + 1]], own, poses[k], grid, screen, bits)
        inside, wrong = np.uint64(0), np.uint64(0)
        for row in range(bits.shape[0]):
            for word in range(bits.shape[1]):
                inside += popcount(bits[row, word] & visible[row, word])
                wrong += popcount(bits[row, word] & outside[row, word])
        out[k, 0], out[k, 1] = inside, wrong


@numba.njit(nogil=True, cache=True)
def boxes_all(verts, first_vert, mesh, poses, out):  # type: ignore[no-untyped-def]
    """Write the box of each pose's vertices, x0, y0, x1, y1 in image pixels, into ``out`` [K,4] float32."""
    screen = np.empty((most_verts(first_vert), 3), np.float32)
    grid = np.array([0, 0, 1], np.float32)
    for k in range(len(poses)):
        own = verts[first_vert[mesh[k]] : first_vert[mesh[k] + 1]]
        to_samples(own, poses[k], grid, screen)
        out[k, 0], out[k, 1] = screen[0, 0], screen[0, 1]
        out[k, 2], out[k, 3] = screen[0, 0], screen[0, 1]
        for i in range(1, len(own)):
            out[k, 0], out[k, 1] = min(out[k, 0], screen[i, 0]), min(out[k, 1], screen[i, 1])
            out[k, 2], out[k, 3] = max(out[k, 2], screen[i, 0]), max(out[k, 3], screen[i, 1])


@numba.njit(nogil=True, cache=True)
def most_verts(first):  # type: ignore[no-untyped-def]
    """How many vertices the largest mesh of a table has."""
    most = 0
    for m in range(len(first) - 1):
        most = max(most, first[m + 1] - first[m])
    return most
