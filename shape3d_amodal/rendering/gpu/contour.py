"""Which edges may be part of the contour, on the GPU: those whose faces all lie on one side of them on the screen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from shape3d_amodal.rendering.gpu.binning import Bins, bin_by_tile
from shape3d_amodal.rendering.gpu.gather import Incidence, incidence
from shape3d_amodal.rendering.gpu.geometry import (
    direction,
    least,
    load_face,
    load_point,
    load_triangle,
    most,
    pixel_at,
    program_items,
    reach,
    span,
    store_box,
    store_records,
)
from shape3d_amodal.rendering.topology import remembered, topology_of

RECORD = 8  # numbers a face: its corners; or an edge: its beginning, x, y, half length and free side; two are idle
ITEMS_AT_ONCE = 128


@dataclass(frozen=True)
class Edges:
    """The edges of M = 1 or B meshes, as many for each, so that some may be idle: without faces.

    Attributes:
        ends: [M,E,2] int32, their vertices.
        sides: [M,E,2] int32, where the faces at each edge begin and end in ``face`` and ``along`` (see ``Topology``).
        face, along: [sides] int32.
        incidence: of ``ends``.
    """

    ends: Tensor
    sides: Tensor
    face: Tensor
    along: Tensor
    incidence: Incidence


@dataclass(frozen=True)
class Contour:
    """What may be seen of a batch of meshes.

    Attributes:
        corners: [B,F,8] float32, the corners of the faces on the screen, NaN where a face does not count.
        lines: [B,E,8] float32, of edges that may be part of the contour: beginning, unit direction, half length and
            free side; NaN for the others.
        free_side: [B,E] int8, on which side of an edge there are no faces: 1 right, -1 left, 0 if on neither or both.
        faces, edges: which of them touch which tiles.
    """

    corners: Tensor
    lines: Tensor
    free_side: Tensor
    faces: Bins
    edges: Bins


@remembered
def edges_of(faces: Tensor, vertices: int) -> Edges:
    """The edges of ``faces`` ([F,3] or [B,F,3]), remembered as long as the tensor lives unchanged."""
    topology = topology_of(faces)
    number = topology.first_edge.diff()
    nth = torch.arange(int(number.max()), device=faces.device)
    exists = nth < number[:, None]
    edge = torch.where(exists, topology.first_edge[:-1, None] + nth, 0)  # [M,E]
    ends = torch.where(exists[..., None], topology.edges[edge], 0)
    begin, end = topology.first_side[edge], torch.where(exists, topology.first_side[edge + 1], 0)
    sides = torch.stack([torch.minimum(begin, end), end], dim=-1)
    return Edges(ends.int(), sides.int(), topology.face.int(), topology.along.int(), incidence(ends, vertices))


def find_contour(verts: Tensor, faces: Tensor, edges: Edges, image_size: int, sigma: float) -> Contour:
    """Of ``verts`` [B,V,3] contiguous float32 and ``faces`` [F,3] or [B,F,3], neither empty."""
    faces = faces.contiguous()
    B, V, F, E = len(verts), verts.shape[1], faces.shape[-2], edges.ends.shape[1]
    corners, turns = verts.new_empty(B, F, RECORD), verts.new_empty(B, F, dtype=torch.int8)
    face_boxes, edge_boxes = (verts.new_empty(4, B * n, dtype=torch.int32) for n in (F, E))
    blocks = triton.cdiv(F, ITEMS_AT_ONCE)
    face_kernel[(B * blocks,)](
        verts, faces, corners, turns, face_boxes, V, F, F * (faces.ndim - 2), blocks, B * F, image_size,
        ITEMS=ITEMS_AT_ONCE, RECORD=RECORD, enable_fp_fusion=False,
    )  # fmt: skip
    lines, free_side = verts.new_empty(B, E, RECORD), verts.new_empty(B, E, dtype=torch.int8)
    blocks = triton.cdiv(E, ITEMS_AT_ONCE)
    edge_kernel[(B * blocks,)](
        verts, edges.ends, edges.sides, edges.face, edges.along, turns, lines, free_side, edge_boxes, V, F, E,
        E * (len(edges.ends) > 1), blocks, B * E, image_size, reach(sigma), ITEMS=ITEMS_AT_ONCE, RECORD=RECORD,
    )  # fmt: skip
    bins = (bin_by_tile(boxes, B, image_size, image_size) for boxes in (face_boxes, edge_boxes))
    return Contour(corners, lines, free_side, *bins)


@triton.jit(do_not_specialize=["vertices", "count", "stride", "blocks", "items", "size"])
def face_kernel(  # type: ignore[no-untyped-def]
    verts, faces, corners, turns, boxes, vertices, count, stride, blocks, items, size, ITEMS: tl.constexpr,
    RECORD: tl.constexpr
):  # fmt: skip
    """Write each face's corners, its turn, and its box; faces beyond the image lie in its outermost pixels."""
    b, f, valid = program_items(count, blocks, ITEMS)
    i, j, k = load_face(faces + b * stride * 3, f, valid)
    ax, ay, bx, by, cx, cy, turn = load_triangle(verts + b * vertices * 3, i, j, k, valid)
    x0, x1 = pixel_at(most(ax, bx, cx), size), pixel_at(least(ax, bx, cx), size)
    y0, y1 = pixel_at(most(ay, by, cy), size), pixel_at(least(ay, by, cy), size)
    item = b * count + f
    store_box(boxes, item, items, x0, tl.where(turn == 0, x0, x1 + 1), y0, y1 + 1, valid)
    store_records(corners, item, (ax, ay, bx, by, cx, cy), 6, turn != 0, valid, ITEMS, RECORD)
    tl.store(turns + item, turn.to(tl.int8), mask=valid)


@triton.jit(do_not_specialize=["vertices", "faces", "count", "stride", "blocks", "items", "size"])
def edge_kernel(  # type: ignore[no-untyped-def]
    verts, ends, sides, side_face, along, turns, lines, free_side, boxes, vertices, faces, count, stride, blocks, items,
    size, margin, ITEMS: tl.constexpr, RECORD: tl.constexpr
):  # fmt: skip
    """Write each edge's free side, and the line and box of those that have one."""
    b, e, valid = program_items(count, blocks, ITEMS)
    own = (b * stride + e) * 2
    begin, end = tl.load(sides + own, mask=valid, other=0), tl.load(sides + own + 1, mask=valid, other=0)
    left, right = tl.zeros([ITEMS], tl.int32), tl.zeros([ITEMS], tl.int32)
    for n in range(tl.max(end - begin)):
        has = begin + n < end
        f = tl.load(side_face + begin + n, mask=has, other=0)
        side = tl.load(along + begin + n, mask=has, other=0) * tl.load(turns + b * faces + f, mask=has, other=0)
        left, right = tl.where(side > 0, 1, left), tl.where(side < 0, 1, right)
    free = left - right
    i, j = tl.load(ends + own, mask=valid, other=0), tl.load(ends + own + 1, mask=valid, other=0)
    ux, uy = load_point(verts + b * vertices * 3, i, free != 0)
    wx, wy = load_point(verts + b * vertices * 3, j, free != 0)
    x, y, half = direction(ux, uy, wx, wy)
    x0, x1 = span(tl.minimum(ux, wx) - margin, tl.maximum(ux, wx) + margin, size)
    y0, y1 = span(tl.minimum(uy, wy) - margin, tl.maximum(uy, wy) + margin, size)
    item = b * count + e
    store_box(boxes, item, items, x0, tl.where(free == 0, x0, x1), y0, y1, valid)
    store_records(lines, item, (ux, uy, x, y, half, free.to(tl.float32)), 6, free != 0, valid, ITEMS, RECORD)
    tl.store(free_side + item, free.to(tl.int8), mask=valid)
