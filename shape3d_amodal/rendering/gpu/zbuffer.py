"""The hard z-buffer of ``zbuffer`` on a CUDA device: the same function, on tensors. Not differentiable."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from shape3d_amodal.rendering import zbuffer
from shape3d_amodal.rendering.gpu.binning import TILE, bin_by_tile, item_at, tile_items, tile_pixels
from shape3d_amodal.rendering.gpu.geometry import (
    DEVICE,
    least,
    load_face,
    load_point,
    most,
    program_items,
    store_box,
    store_records,
)

NEAR = tl.constexpr(zbuffer.NEAR)
RECORD = 16  # numbers a face: its corners on the screen and their inverse depths; the others are idle
FACES_TO_PLACE = 128


def rasterize(verts: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rasterize triangles; arguments and results as for ``zbuffer.rasterize``, but tensors on a CUDA device.

    Faces [F,3] are int32 or int64 and are not checked. Of faces equally near (to float32) the first wins, in every run;
    a pixel centre on an edge belongs to the faces on both its sides.

    Raises:
        ValueError: the tensors are not on a CUDA device, or the vertices are not float32.
    """
    if verts.dtype != torch.float32 or not verts.device.type == faces.device.type == DEVICE:
        raise ValueError(
            f"expected float32 vertices and faces on a {DEVICE} device, got {verts.dtype} on {verts.device} and "
            f"{faces.device}; use rendering.zbuffer on the CPU"
        )
    depth = verts.new_full((height, width), torch.inf)
    face_id = torch.full((height, width), -1, dtype=torch.int32, device=verts.device)
    if len(faces) and face_id.numel():
        with torch.cuda.device_of(verts):
            _draw(verts.contiguous(), faces.contiguous(), depth, face_id)
    return depth, face_id


def _draw(verts: Tensor, faces: Tensor, depth: Tensor, face_id: Tensor) -> None:
    F, (height, width) = len(faces), depth.shape
    records, boxes = verts.new_empty(F, RECORD), verts.new_empty(4, F, dtype=torch.int32)
    blocks = triton.cdiv(F, FACES_TO_PLACE)
    place_kernel[(blocks,)](
        verts, faces, records, boxes, F, blocks, height, width, FACES=FACES_TO_PLACE, RECORD=RECORD,
        enable_fp_fusion=False,
    )  # fmt: skip
    bins = bin_by_tile(boxes, 1, width, height)
    draw_kernel[(bins.tiles,)](
        records, bins.listed, bins.ends, depth, face_id, F, height, width, bins.capacity, bins.across, bins.chunks,
        TILE=TILE, RECORD=RECORD, num_warps=1, enable_fp_fusion=False,
    )  # fmt: skip


@triton.jit(do_not_specialize=["count", "blocks", "height", "width"])
def place_kernel(  # type: ignore[no-untyped-def]
    verts, faces, records, boxes, count, blocks, height, width, FACES: tl.constexpr, RECORD: tl.constexpr
):
    """Write each face's record [F,RECORD] and its box into ``boxes`` [4,F]; both empty if it is dropped."""
    _, f, valid = program_items(count, blocks, FACES)
    i, j, k = load_face(faces, f, valid)
    ax, ay = load_point(verts, i, valid)
    bx, by = load_point(verts, j, valid)
    cx, cy = load_point(verts, k, valid)
    az = tl.load(verts + 3 * i + 2, mask=valid, other=0.0)
    bz = tl.load(verts + 3 * j + 2, mask=valid, other=0.0)
    cz = tl.load(verts + 3 * k + 2, mask=valid, other=0.0)
    area = tl.abs((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    in_front = (az > NEAR) & (bz > NEAR) & (cz > NEAR) & (most(az, bz, cz) < float("inf"))
    drawn = in_front & (area > 1e-12) & (area < 1e12)
    x0 = _clamped(tl.floor(tl.where(drawn, least(ax, bx, cx), 0.0) - 0.5), width)
    x1 = _clamped(tl.ceil(tl.where(drawn, most(ax, bx, cx), 0.0) + 0.5), width)
    y0 = _clamped(tl.floor(tl.where(drawn, least(ay, by, cy), 0.0) - 0.5), height)
    y1 = _clamped(tl.ceil(tl.where(drawn, most(ay, by, cy), 0.0) + 0.5), height)
    store_box(boxes, f, count, x0, tl.where(drawn, x1, x0), y0, y1, valid)
    ia, ib, ic = 1.0 / tl.where(drawn, az, 1.0), 1.0 / tl.where(drawn, bz, 1.0), 1.0 / tl.where(drawn, cz, 1.0)
    store_records(records, f, (ax, ay, bx, by, cx, cy, ia, ib, ic), 9, drawn, valid, FACES, RECORD)


@triton.jit
def _clamped(x, size):  # type: ignore[no-untyped-def]
    return tl.minimum(tl.maximum(x, 0.0), size * 1.0).to(tl.int32)


@triton.jit(do_not_specialize=["count", "height", "width", "capacity", "across", "chunks"])
def draw_kernel(  # type: ignore[no-untyped-def]
    records, listed, ends, depth, face_id, count, height, width, capacity, across, chunks, TILE: tl.constexpr,
    RECORD: tl.constexpr
):  # fmt: skip
    """Write depth and face of the pixels of one tile. Faces come in ascending order, and a later one must be nearer."""
    tile = tl.program_id(0)
    column, row, in_image = tile_pixels(tile, across, width, height, TILE)
    px, py = column + 0.5, row + 0.5
    nearest, number = tl.zeros([TILE, TILE], tl.float32), tl.full([TILE, TILE], -1, tl.int32)
    begin, end, fits = tile_items(ends, tile, chunks, capacity, count)
    for n in range(begin, end):
        f = item_at(listed, n, fits).to(tl.int32)
        record = records + f.to(tl.int64) * RECORD
        ax, ay, bx, by = tl.load(record), tl.load(record + 1), tl.load(record + 2), tl.load(record + 3)
        cx, cy = tl.load(record + 4), tl.load(record + 5)
        in_box = (px >= least(ax, bx, cx)) & (px <= most(ax, bx, cx))
        in_box = in_box & (py >= least(ay, by, cy)) & (py <= most(ay, by, cy))
        ax, ay, bx, by, cx, cy = ax - px, ay - py, bx - px, by - py, cx - px, cy - py
        a, b, c = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
        inside = ((a >= 0) & (b >= 0) & (c >= 0)) | ((a <= 0) & (b <= 0) & (c <= 0))
        total = a + b + c
        inverse = a * tl.load(record + 6) + b * tl.load(record + 7) + c * tl.load(record + 8)
        inverse = inverse / tl.where(total == 0, 1.0, total)
        nearer = inside & in_box & (inverse > nearest)
        nearest, number = tl.where(nearer, inverse, nearest), tl.where(nearer, f, number)
    pixel = row.to(tl.int64) * width + column
    hit = number >= 0
    tl.store(depth + pixel, tl.where(hit, 1.0 / tl.where(hit, nearest, 1.0), float("inf")), mask=in_image)
    tl.store(face_id + pixel, number, mask=in_image)
