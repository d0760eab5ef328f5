"""Triton kernels of the product mode: tile by tile forward, face by face backward.

As on the CPU (``rendering.cpu.product``), a pixel has coordinates s across an edge and t along it. Forward, a program
draws one tile in registers, and stops when nothing shines through it any more. Backward, a program sums in registers
what the pixels near a few faces give to their corners, and stores it once: no two programs add to one number, so the
result is the same in every run.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from shape3d_amodal.rendering.gpu.binning import TILE, bin_by_tile, item_at, tile_items, tile_pixels
from shape3d_amodal.rendering.gpu.gather import Incidence, incidence, sum_by_vertex
from shape3d_amodal.rendering.gpu.geometry import (
    centre,
    clamp,
    direction,
    least,
    load_box,
    load_face,
    load_triangle,
    most,
    offset,
    program_items,
    reach,
    span,
    store_box,
    store_records,
    window_pixels,
    windows,
)
from shape3d_amodal.rendering.reference import blur_radius
from shape3d_amodal.rendering.topology import remembered

RECORD = 16  # numbers a face: its corners wound to the left, x, y and half length of its edges, how it was wound
OPAQUE = tl.constexpr(2e-9)  # 1 - 2e-9 is 1 in float32
FACES_TO_PLACE, FACES_A_CHECK = 128, 16
FACES_AT_ONCE, WINDOW = 4, (8, 4)  # backward, a pixel of a face for each of 128 threads


def forward(verts: Tensor, faces: Tensor, image_size: int, sigma: float) -> tuple[Tensor]:
    """``verts`` [B,V,3] contiguous, ``faces`` [F,3] or [B,F,3], neither empty -> alpha [B,H,W]."""
    records, boxes = place(verts, faces, image_size, sigma)
    B, F, _ = records.shape
    bins = bin_by_tile(boxes, B, image_size, image_size)
    alpha = verts.new_empty(B, image_size, image_size)
    draw_kernel[(B * bins.tiles,)](
        records, bins.listed, bins.ends, alpha, F, image_size, bins.capacity, bins.across, bins.tiles, bins.chunks,
        blur_radius(sigma), exponent(sigma), TILE=TILE, CHECK=FACES_A_CHECK, RECORD=RECORD, num_warps=1,
    )  # fmt: skip
    return (alpha,)


def backward(verts: Tensor, faces: Tensor, alpha: Tensor, grad: Tensor, sigma: float) -> Tensor:
    """The gradient [B,V,3]."""
    size = alpha.shape[1]
    records, boxes = place(verts, faces, size, sigma)  # as before: sooner found again than kept
    B, F, _ = records.shape
    corner_grad = verts.new_empty(B, F, 3, 2)
    blocks = triton.cdiv(F, FACES_AT_ONCE)
    gradient_kernel[(B * blocks,)](
        records, boxes, alpha, grad, corner_grad, F, blocks, B * F, size, blur_radius(sigma), exponent(sigma),
        2 / sigma, FACES=FACES_AT_ONCE, WIDTH=WINDOW[0], HEIGHT=WINDOW[1], RECORD=RECORD,
    )  # fmt: skip
    V = verts.shape[1]
    return sum_by_vertex(corner_grad, _corners_of(faces, V), V)


def place(verts: Tensor, faces: Tensor, image_size: int, sigma: float) -> tuple[Tensor, Tensor]:
    """The records of the faces [B,F,RECORD], and the boxes [4,B * F] of pixels that they may touch."""
    B, V, F = len(verts), verts.shape[1], faces.shape[-2]
    records, boxes = verts.new_empty(B, F, RECORD), verts.new_empty(4, B * F, dtype=torch.int32)
    blocks = triton.cdiv(F, FACES_TO_PLACE)
    place_kernel[(B * blocks,)](
        verts, faces.contiguous(), records, boxes, V, F, F * (faces.ndim - 2), blocks, B * F, image_size, reach(sigma),
        FACES=FACES_TO_PLACE, RECORD=RECORD, enable_fp_fusion=False,
    )  # fmt: skip
    return records, boxes


@remembered
def _corners_of(faces: Tensor, vertices: int) -> Incidence:
    return incidence(faces if faces.ndim == 3 else faces[None], vertices)


def exponent(sigma: float) -> float:
    """Factor from a squared distance to the exponent of 2 in sigmoid(-d^2 / sigma)."""
    return 1 / (math.log(2.0) * sigma)


@triton.jit(do_not_specialize=["vertices", "count", "stride", "blocks", "items", "size"])
def place_kernel(  # type: ignore[no-untyped-def]
    verts, faces, records, boxes, vertices, count, stride, blocks, items, size, margin, FACES: tl.constexpr,
    RECORD: tl.constexpr
):  # fmt: skip
    """Write each face's record, and the columns and rows that it may touch; none if it does not count."""
    b, f, valid = program_items(count, blocks, FACES)
    i, j, k = load_face(faces + b * stride * 3, f, valid)
    ax, ay, bx, by, cx, cy, turn = load_triangle(verts + b * vertices * 3, i, j, k, valid)
    x0, x1 = span(least(ax, bx, cx) - margin, most(ax, bx, cx) + margin, size)
    y0, y1 = span(least(ay, by, cy) - margin, most(ay, by, cy) + margin, size)
    item = b * count + f
    store_box(boxes, item, items, x0, tl.where(turn == 0, x0, x1), y0, y1, valid)
    left = turn >= 0
    bx, by, cx, cy = (
        tl.where(left, bx, cx), tl.where(left, by, cy), tl.where(left, cx, bx), tl.where(left, cy, by)
    )  # fmt: skip
    ab, bc, ca = direction(ax, ay, bx, by), direction(bx, by, cx, cy), direction(cx, cy, ax, ay)
    numbers = (
        ax, ay, ab[0], ab[1], ab[2], bx, by, bc[0], bc[1], bc[2], cx, cy, ca[0], ca[1], ca[2], turn.to(tl.float32)
    )  # fmt: skip
    store_records(records, item, numbers, 16, turn != 0, valid, FACES, RECORD)


@triton.jit
def _distance(record, px, py):  # type: ignore[no-untyped-def]
    """s and the squared distance of pixels from one edge of a record."""
    half = tl.load(record + 4)
    s, t = offset(px, py, tl.load(record), tl.load(record + 1), tl.load(record + 2), tl.load(record + 3), half)
    r = t - clamp(t, half)
    return s, s * s + r * r


@triton.jit(do_not_specialize=["count", "size", "capacity", "across", "tiles", "chunks"])
def draw_kernel(  # type: ignore[no-untyped-def]
    records, listed, ends, alpha, count, size, capacity, across, tiles, chunks, cut, scale, TILE: tl.constexpr,
    CHECK: tl.constexpr, RECORD: tl.constexpr
):  # fmt: skip
    """Write alpha = 1 - prod_j (1 - sigmoid(+-d_j^2 / sigma)) of one tile."""
    tile = tl.program_id(0).to(tl.int64)
    b = tile // tiles
    column, row, in_image = tile_pixels(tile % tiles, across, size, size, TILE)
    px, py = centre(column, size), centre(row, size)
    n, end, fits = tile_items(ends, tile, chunks, capacity, count)
    clear = tl.where(in_image, 1.0, 0.0)
    while (n < end) & (tl.max(clear) > OPAQUE):
        stop = tl.minimum(n + CHECK, end)
        for m in range(n, stop):
            record = records + (b * count + item_at(listed, m, fits)) * RECORD
            s_ab, d_ab = _distance(record, px, py)
            s_bc, d_bc = _distance(record + 5, px, py)
            s_ca, d_ca = _distance(record + 10, px, py)
            squared = least(d_ab, d_bc, d_ca)
            e = tl.exp2(-squared * scale)
            share = 1.0 / (1.0 + e)
            outside = tl.where(squared < cut, share, 1.0)
            clear *= tl.where(least(s_ab, s_bc, s_ca) > 0, e * share, outside)
        n = stop
    tl.store(alpha + b * size * size + row * size + column, 1.0 - clear, mask=in_image)


@triton.jit
def _load_edge(record, valid):  # type: ignore[no-untyped-def]
    """Where edges [FACES,1] begin, their directions and half lengths."""
    ux, uy = tl.load(record, mask=valid, other=0.0), tl.load(record + 1, mask=valid, other=0.0)
    x, y = tl.load(record + 2, mask=valid, other=0.0), tl.load(record + 3, mask=valid, other=0.0)
    return ux, uy, x, y, tl.load(record + 4, mask=valid, other=1.0)


@triton.jit
def _offset(px, py, edge):  # type: ignore[no-untyped-def]
    """s and r of pixels from edges, the squared distance, and how far from u to w the nearest point lies."""
    ux, uy, x, y, half = edge
    s, t = offset(px, py, ux, uy, x, y, half)
    nearest = clamp(t, half)
    r = t - nearest
    return s, r, s * s + r * r, 0.5 + 0.5 * nearest / half


@triton.jit
def _choose(is_ab, is_ca, ab, bc, ca):  # type: ignore[no-untyped-def]
    return tl.where(is_ab, ab, tl.where(is_ca, ca, bc))


@triton.jit(do_not_specialize=["count", "blocks", "items", "size"])
def gradient_kernel(  # type: ignore[no-untyped-def]
    records, boxes, alpha, grad, corner_grad, count, blocks, items, size, cut, scale, factor, FACES: tl.constexpr,
    WIDTH: tl.constexpr, HEIGHT: tl.constexpr, RECORD: tl.constexpr
):  # fmt: skip
    """Write the gradient by the corners of ``FACES`` faces, [B,F,3,2]."""
    b, f, valid = program_items(count, blocks, FACES)
    item = b * count + f
    alpha, grad = alpha + b * size * size, grad + b * size * size
    x0, x1, y0, y1 = load_box(boxes, item, items, valid)
    across, number = windows(x0, x1, y0, y1, WIDTH, HEIGHT)
    drawn = number > 0
    record = records + item[:, None] * RECORD
    ab, bc = _load_edge(record, drawn[:, None]), _load_edge(record + 5, drawn[:, None])
    ca = _load_edge(record + 10, drawn[:, None])
    gax = tl.zeros([FACES, WIDTH * HEIGHT], tl.float32)
    gay, gbx, gby, gcx, gcy = gax, gax, gax, gax, gax
    for n in range(tl.max(number)):
        column, row, near = window_pixels(n, x0, x1, y0, y1, across, WIDTH, HEIGHT)
        pixel = row * size + column
        clear = 1.0 - tl.load(alpha + pixel, mask=near, other=1.0)
        weight = factor * clear * tl.load(grad + pixel, mask=near, other=0.0)
        px, py = centre(column, size), centre(row, size)
        s_ab, r_ab, d_ab, w_ab = _offset(px, py, ab)
        s_bc, r_bc, d_bc, w_bc = _offset(px, py, bc)
        s_ca, r_ca, d_ca, w_ca = _offset(px, py, ca)
        is_ab, is_ca = d_ab <= tl.minimum(d_bc, d_ca), d_ca < tl.minimum(d_ab, d_bc)
        squared = least(d_ab, d_bc, d_ca)
        e = tl.exp2(-squared * scale)
        share = 1.0 / (1.0 + e)
        outside = tl.where(squared < cut, e * share, 0.0)
        g = weight * tl.where(least(s_ab, s_bc, s_ca) > 0, -share, outside)
        s, r = _choose(is_ab, is_ca, s_ab, s_bc, s_ca), _choose(is_ab, is_ca, r_ab, r_bc, r_ca)
        x, y = _choose(is_ab, is_ca, ab[2], bc[2], ca[2]), _choose(is_ab, is_ca, ab[3], bc[3], ca[3])
        gx, gy = g * (r * x - s * y), g * (r * y + s * x)
        a = _choose(is_ab, is_ca, 1.0 - w_ab, 0.0, w_ca)
        c = _choose(is_ab, is_ca, 0.0, w_bc, 1.0 - w_ca)
        gax, gay = gax + gx * a, gay + gy * a
        gbx, gby = gbx + gx * (1.0 - a - c), gby + gy * (1.0 - a - c)
        gcx, gcy = gcx + gx * c, gcy + gy * c
    turn = tl.load(records + item * RECORD + 15, mask=drawn, other=1.0)
    first = corner_grad + item * 6
    second, third = first + tl.where(turn < 0, 4, 2), first + tl.where(turn < 0, 2, 4)
    tl.store(first, tl.sum(gax, axis=1), mask=valid)
    tl.store(first + 1, tl.sum(gay, axis=1), mask=valid)
    tl.store(second, tl.sum(gbx, axis=1), mask=valid)
    tl.store(second + 1, tl.sum(gby, axis=1), mask=valid)
    tl.store(third, tl.sum(gcx, axis=1), mask=valid)
    tl.store(third + 1, tl.sum(gcy, axis=1), mask=valid)
