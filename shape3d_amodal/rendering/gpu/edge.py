"""Triton kernels of the edge mode: coverage and nearest contour point tile by tile, the gradient edge by edge."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from shape3d_amodal.rendering import reference
from shape3d_amodal.rendering.gpu.binning import TILE, item_at, tile_items, tile_pixels
from shape3d_amodal.rendering.gpu.contour import RECORD, edges_of, find_contour
from shape3d_amodal.rendering.gpu.gather import sum_by_vertex
from shape3d_amodal.rendering.gpu.geometry import (
    centre,
    clamp,
    direction,
    load_point,
    offset,
    pixel_at,
    program_items,
    reach,
    span,
    window_pixels,
    windows,
)
from shape3d_amodal.rendering.reference import BESIDE, blur_radius

BELOW_HALF = tl.constexpr(reference.BELOW_HALF)
EDGES_AT_ONCE, WINDOW = 4, (8, 4)  # backward, a pixel of an edge for each of 128 threads


def forward(verts: Tensor, faces: Tensor, image_size: int, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """``verts`` [B,V,3] contiguous, ``faces`` [F,3] or [B,F,3], neither empty -> alpha [B,H,W], and what ``backward``
    needs besides: the nearest edge of each pixel [B,H,W] int32, -1 beyond reach, and the free side of each edge."""
    B, F = len(verts), faces.shape[-2]
    contour = find_contour(verts, faces, edges_of(faces, verts.shape[1]), image_size, sigma)
    alpha = verts.new_empty(B, image_size, image_size)
    winner = torch.empty_like(alpha, dtype=torch.int32)
    of_faces, of_edges = contour.faces, contour.edges
    draw_kernel[(B * of_faces.tiles,)](
        contour.corners, of_faces.listed, of_faces.ends, contour.lines, of_edges.listed, of_edges.ends, alpha, winner,
        F, contour.lines.shape[1], image_size, of_faces.capacity, of_faces.chunks, of_edges.capacity, of_edges.chunks,
        of_faces.across, of_faces.tiles, blur_radius(sigma), 1 / sigma, BESIDE * 2 / image_size, TILE=TILE,
        RECORD=RECORD, num_warps=1, enable_fp_fusion=False,
    )  # fmt: skip
    return alpha, winner, contour.free_side


def backward(
    verts: Tensor, faces: Tensor, alpha: Tensor, grad: Tensor, sigma: float, winner: Tensor, free_side: Tensor
) -> Tensor:
    """The gradient [B,V,3]."""
    B, V, size = len(verts), verts.shape[1], alpha.shape[1]
    edges = edges_of(faces, V)
    E = edges.ends.shape[1]
    end_grad = verts.new_empty(B, E, 2, 2)
    blocks = triton.cdiv(E, EDGES_AT_ONCE)
    gradient_kernel[(B * blocks,)](
        verts, edges.ends, free_side, alpha, winner, grad, end_grad, V, E, E * (len(edges.ends) > 1), blocks, size,
        reach(sigma), 2 / sigma, EDGES=EDGES_AT_ONCE, WIDTH=WINDOW[0], HEIGHT=WINDOW[1],
    )  # fmt: skip
    return sum_by_vertex(end_grad, edges.incidence, V)


@triton.jit
def _is_covered(x, y, corners, f, wanted, RECORD: tl.constexpr):  # type: ignore[no-untyped-def]
    """Whether the face f covers the point, border included. Neighbours round alike, so that no gap is left between."""
    corner = corners + f * RECORD
    ax, ay = tl.load(corner, mask=wanted, other=0.0) - x, tl.load(corner + 1, mask=wanted, other=0.0) - y
    bx, by = tl.load(corner + 2, mask=wanted, other=0.0) - x, tl.load(corner + 3, mask=wanted, other=0.0) - y
    cx, cy = tl.load(corner + 4, mask=wanted, other=0.0) - x, tl.load(corner + 5, mask=wanted, other=0.0) - y
    ab, bc, ca = ax * by - ay * bx, bx * cy - by * cx, cx * ay - cy * ax
    return ((ab >= 0) & (bc >= 0) & (ca >= 0)) | ((ab <= 0) & (bc <= 0) & (ca <= 0))


@triton.jit
def _is_hidden(  # type: ignore[no-untyped-def]
    px, py, edge, asks, lines, corners, listed, ends, first_tile, capacity, count, chunks, across, size, delta,
    TILE: tl.constexpr, RECORD: tl.constexpr
):  # fmt: skip
    """Whether a face covers the free side of an edge where it is nearest to p; see ``reference.point_beside``."""
    line = lines + edge * RECORD
    ux, uy = tl.load(line, mask=asks, other=0.0), tl.load(line + 1, mask=asks, other=0.0)
    x, y = tl.load(line + 2, mask=asks, other=0.0), tl.load(line + 3, mask=asks, other=0.0)
    half, side = tl.load(line + 4, mask=asks, other=0.0), tl.load(line + 5, mask=asks, other=0.0)
    _, t = offset(px, py, ux, uy, x, y, half)
    t = clamp(t, tl.maximum(half - 8.0 * delta, 0.0)) + half
    beside_x, beside_y = ux + t * x + delta * side * y, uy + t * y - delta * side * x
    tile = first_tile + pixel_at(beside_y, size) // TILE * across + pixel_at(beside_x, size) // TILE
    begin, end, fits = tile_items(ends, tile, chunks, capacity, count)
    hidden = tl.zeros([TILE, TILE], tl.int1)
    for n in range(tl.max(tl.where(asks, end - begin, 0))):
        wanted = asks & (begin + n < end)
        f = item_at(listed, begin + n, fits & wanted)
        hidden |= wanted & _is_covered(beside_x, beside_y, corners, f, wanted, RECORD)
    return hidden


@triton.jit(
    do_not_specialize=["count", "edges", "size", "face_capacity", "face_chunks", "edge_capacity", "edge_chunks",
                       "across", "tiles"]
)  # fmt: skip
def draw_kernel(  # type: ignore[no-untyped-def]
    corners, faces_listed, face_ends, lines, edges_listed, edge_ends, alpha, winner, count, edges, size, face_capacity,
    face_chunks, edge_capacity, edge_chunks, across, tiles, cut, scale, delta, TILE: tl.constexpr, RECORD: tl.constexpr
):  # fmt: skip
    """Write alpha = sigmoid(+-d^2 / sigma) of one tile, and the edge of each pixel's nearest point of the contour.

    A covered pixel's nearest edge may run inside the silhouette. Then the next nearest is asked for, until one does
    not, or none is in reach.
    """
    tile = tl.program_id(0).to(tl.int64)
    b = tile // tiles
    column, row, in_image = tile_pixels(tile % tiles, across, size, size, TILE)
    px, py = centre(column, size), centre(row, size)
    corners, lines = corners + b * count * RECORD, lines + b * edges * RECORD
    covered = tl.zeros([TILE, TILE], tl.int1)
    begin, end, fits = tile_items(face_ends, tile, face_chunks, face_capacity, count)
    for n in range(begin, end):
        covered |= _is_covered(px, py, corners, item_at(faces_listed, n, fits), True, RECORD)
    nearest, number = tl.full([TILE, TILE], cut, tl.float32), tl.full([TILE, TILE], -1, tl.int32)
    passed, passed_number = tl.full([TILE, TILE], -1.0, tl.float32), number
    pending = in_image
    begin, end, fits = tile_items(edge_ends, tile, edge_chunks, edge_capacity, edges)
    while tl.max(pending.to(tl.int32)) > 0:
        best, best_number = tl.full([TILE, TILE], cut, tl.float32), tl.full([TILE, TILE], -1, tl.int32)
        for n in range(begin, end):
            e = item_at(edges_listed, n, fits).to(tl.int32)
            line = lines + e * RECORD
            half = tl.load(line + 4)
            s, t = offset(px, py, tl.load(line), tl.load(line + 1), tl.load(line + 2), tl.load(line + 3), half)
            r = t - clamp(t, half)
            squared = s * s + r * r
            further = (squared > passed) | ((squared == passed) & (e > passed_number))
            closer = further & (squared < best)
            best, best_number = tl.where(closer, squared, best), tl.where(closer, e, best_number)
        asks = pending & covered & (best_number >= 0)
        hidden = _is_hidden(
            px, py, best_number, asks, lines, corners, faces_listed, face_ends, b * tiles, face_capacity, count,
            face_chunks, across, size, delta, TILE, RECORD,
        )  # fmt: skip
        found = pending & (hidden == 0)
        nearest, number = tl.where(found, best, nearest), tl.where(found, best_number, number)
        passed, passed_number = best, best_number
        pending = hidden
    x = tl.where(covered, nearest, -nearest) * scale
    soft = 1.0 / (1.0 + tl.exp(-x))
    pixel = b * size * size + row * size + column
    soft = tl.where(covered, tl.maximum(soft, 0.5), tl.minimum(soft, BELOW_HALF))
    tl.store(alpha + pixel, tl.where(number < 0, covered.to(tl.float32), soft), mask=in_image)
    tl.store(winner + pixel, number, mask=in_image)


@triton.jit(do_not_specialize=["vertices", "count", "stride", "blocks", "size"])
def gradient_kernel(  # type: ignore[no-untyped-def]
    verts, ends, free_side, alpha, winner, grad, end_grad, vertices, count, stride, blocks, size, margin, factor,
    EDGES: tl.constexpr, WIDTH: tl.constexpr, HEIGHT: tl.constexpr
):  # fmt: skip
    """Write the gradient by the ends of ``EDGES`` edges, [B,E,2,2], from the pixels to which they are nearest."""
    b, e, valid = program_items(count, blocks, EDGES)
    item = b * count + e
    drawn = tl.load(free_side + item, mask=valid, other=0) != 0
    gux = tl.zeros([EDGES, WIDTH * HEIGHT], tl.float32)
    guy, gwx, gwy = gux, gux, gux
    if tl.max(drawn.to(tl.int32)) > 0:  # few edges are part of a contour
        image = b * size * size
        alpha, winner, grad = alpha + image, winner + image, grad + image
        own = ends + (b * stride + e) * 2
        i, j = tl.load(own, mask=drawn, other=0), tl.load(own + 1, mask=drawn, other=0)
        ux, uy = load_point(verts + b * vertices * 3, i, drawn)
        wx, wy = load_point(verts + b * vertices * 3, j, drawn)
        x, y, half = direction(ux, uy, wx, wy)
        x0, x1 = span(tl.minimum(ux, wx) - margin, tl.maximum(ux, wx) + margin, size)
        y0, y1 = span(tl.minimum(uy, wy) - margin, tl.maximum(uy, wy) + margin, size)
        across, number = windows(x0, tl.where(drawn, x1, x0), y0, y1, WIDTH, HEIGHT)
        for n in range(tl.max(number)):
            column, row, near = window_pixels(n, x0, x1, y0, y1, across, WIDTH, HEIGHT)
            pixel = row * size + column
            near = near & (tl.load(winner + pixel, mask=near, other=-1) == e[:, None])
            a = tl.load(alpha + pixel, mask=near, other=0.0)
            inside = tl.where(a >= 0.5, -factor, factor)
            g = tl.load(grad + pixel, mask=near, other=0.0) * a * (1.0 - a) * inside
            px, py = centre(column, size), centre(row, size)
            s, t = offset(px, py, ux[:, None], uy[:, None], x[:, None], y[:, None], half[:, None])
            nearest = clamp(t, half[:, None])
            r = t - nearest
            to_w = 0.5 + 0.5 * nearest / tl.where(drawn, half, 1.0)[:, None]
            gx, gy = g * (r * x[:, None] - s * y[:, None]), g * (r * y[:, None] + s * x[:, None])
            gux, guy = gux + gx * (1.0 - to_w), guy + gy * (1.0 - to_w)
            gwx, gwy = gwx + gx * to_w, gwy + gy * to_w
    target = end_grad + item * 4
    tl.store(target, tl.sum(gux, axis=1), mask=valid)
    tl.store(target + 1, tl.sum(guy, axis=1), mask=valid)
    tl.store(target + 2, tl.sum(gwx, axis=1), mask=valid)
    tl.store(target + 3, tl.sum(gwy, axis=1), mask=valid)
