"""What the Triton kernels share: which faces count, the pixels near them, and edges as seen from pixels.

Where neighbouring faces must round alike a kernel is launched with ``enable_fp_fusion=False``: a product fused with a
sum is not rounded the same from both sides of an edge.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from shape3d_amodal.rendering import reference

NEAR, AREA, FAR = tl.constexpr(reference.NEAR), tl.constexpr(reference.AREA), tl.constexpr(reference.FAR)


def reach(sigma: float) -> float:
    """How far from a face, in NDC, it counts; a little more, for rounding."""
    return 1.0001 * math.sqrt(reference.blur_radius(sigma))


@triton.jit
def least(a, b, c):  # type: ignore[no-untyped-def]
    return tl.minimum(tl.minimum(a, b), c)


@triton.jit
def most(a, b, c):  # type: ignore[no-untyped-def]
    return tl.maximum(tl.maximum(a, b), c)


DEVICE = "cuda" if isinstance(least, triton.JITFunction) else "cpu"
"""Where the kernels run: Triton's interpreter (TRITON_INTERPRET=1) takes tensors on the CPU."""


@triton.jit
def program_items(count, blocks, ITEMS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The image of a program that works on a block of one image's items, the items, and which of them there are."""
    b = (tl.program_id(0) // blocks).to(tl.int64)
    item = tl.program_id(0) % blocks * ITEMS + tl.arange(0, ITEMS)
    return b, item, item < count


@triton.jit
def load_face(faces, f, valid):  # type: ignore[no-untyped-def]
    """The vertices of the faces f of a mesh."""
    i = tl.load(faces + 3 * f, mask=valid, other=0)
    j = tl.load(faces + 3 * f + 1, mask=valid, other=0)
    k = tl.load(faces + 3 * f + 2, mask=valid, other=0)
    return i, j, k


@triton.jit
def load_point(verts, i, valid):  # type: ignore[no-untyped-def]
    """Where the vertices i of a mesh lie on the screen."""
    return tl.load(verts + 3 * i, mask=valid, other=0.0), tl.load(verts + 3 * i + 1, mask=valid, other=0.0)


@triton.jit
def load_triangle(verts, i, j, k, valid):  # type: ignore[no-untyped-def]
    """The corners on the screen, and how the face is wound there: 1 to the left, -1 to the right, 0 if it does not
    count: it is not finite, has a vertex behind the near plane, or is edge-on. Then its corners are 0."""
    ax, ay = load_point(verts, i, valid)
    bx, by = load_point(verts, j, valid)
    cx, cy = load_point(verts, k, valid)
    az = tl.load(verts + 3 * i + 2, mask=valid, other=-1.0)
    bz = tl.load(verts + 3 * j + 2, mask=valid, other=-1.0)
    cz = tl.load(verts + 3 * k + 2, mask=valid, other=-1.0)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    extent = tl.abs(ax) + tl.abs(ay) + tl.abs(az) + tl.abs(bx) + tl.abs(by) + tl.abs(bz)
    extent += tl.abs(cx) + tl.abs(cy) + tl.abs(cz)
    drawn = (extent < FAR) & (az >= NEAR) & (bz >= NEAR) & (cz >= NEAR) & (tl.abs(area) > AREA)  # false for NaN
    ax, bx, cx = tl.where(drawn, ax, 0.0), tl.where(drawn, bx, 0.0), tl.where(drawn, cx, 0.0)
    ay, by, cy = tl.where(drawn, ay, 0.0), tl.where(drawn, by, 0.0), tl.where(drawn, cy, 0.0)
    return ax, ay, bx, by, cx, cy, tl.where(drawn, tl.where(area > 0, 1, -1), 0)


@triton.jit
def centre(index, size):  # type: ignore[no-untyped-def]
    """NDC coordinate of the centre of a column or row."""
    return 1.0 - (2.0 * index + 1.0) / size


@triton.jit
def span(low, high, size):  # type: ignore[no-untyped-def]
    """Pixels [first, end) whose centres may lie between the NDC coordinates low and high (pixels run against NDC)."""
    half, last = 0.5 * size, 1.0 * size
    first = tl.floor(tl.minimum(tl.maximum((1.0 - high) * half - 0.5, 0.0), last))
    end = tl.ceil(tl.minimum(tl.maximum((1.0 - low) * half + 0.5, 0.0), last))
    return first.to(tl.int32), end.to(tl.int32)


@triton.jit
def pixel_at(coordinate, size):  # type: ignore[no-untyped-def]
    """The column or row of an NDC coordinate; what is beyond the image belongs to the outermost ones."""
    return tl.minimum(tl.maximum((1.0 - coordinate) * (0.5 * size), 0.0), size - 1.0).to(tl.int32)


@triton.jit
def direction(ux, uy, wx, wy):  # type: ignore[no-untyped-def]
    """Unit direction and half length of an edge; zero for one without length."""
    x, y = wx - ux, wy - uy
    length = tl.sqrt(x * x + y * y)
    scale = 1.0 / tl.where(length > 0, length, 1.0)
    return x * scale, y * scale, 0.5 * length


@triton.jit
def offset(px, py, ux, uy, x, y, half):  # type: ignore[no-untyped-def]
    """Of p from an edge: s across it, positive on its left, and t along it, counted from its middle."""
    qx, qy = px - ux, py - uy
    return x * qy - y * qx, x * qx + y * qy - half


@triton.jit
def clamp(t, half):  # type: ignore[no-untyped-def]
    """The nearest to t of what belongs to the edge."""
    return tl.minimum(tl.maximum(t, -half), half)


@triton.jit
def store_box(boxes, item, items, x0, x1, y0, y1, valid):  # type: ignore[no-untyped-def]
    """Columns [x0, x1) and rows [y0, y1) of items into ``boxes`` [4,items]."""
    stride = tl.cast(items, tl.int64)
    tl.store(boxes + item, x0, mask=valid)
    tl.store(boxes + stride + item, x1, mask=valid)
    tl.store(boxes + 2 * stride + item, y0, mask=valid)
    tl.store(boxes + 3 * stride + item, y1, mask=valid)


@triton.jit
def load_box(boxes, item, items, valid):  # type: ignore[no-untyped-def]
    """What ``store_box`` has written; empty for items that are not."""
    stride = tl.cast(items, tl.int64)
    x0, x1 = tl.load(boxes + item, mask=valid, other=0), tl.load(boxes + stride + item, mask=valid, other=0)
    y0, y1 = (
        tl.load(boxes + 2 * stride + item, mask=valid, other=0), tl.load(boxes + 3 * stride + item, mask=valid, other=0)
    )  # fmt: skip
    return x0, x1, y0, y1


@triton.jit
def store_records(  # type: ignore[no-untyped-def]
    records, item, numbers, COUNT: tl.constexpr, exists, valid, ITEMS: tl.constexpr, RECORD: tl.constexpr
):  # fmt: skip
    """Write ``COUNT`` numbers of each item into ``records`` [items,RECORD]; where it does not exist, numbers that are
    neither near nor inside anything. They are stored as one block, for memory takes neighbours together."""
    field = tl.arange(0, RECORD)[None, :]
    record = tl.full([ITEMS, RECORD], float("nan"), tl.float32)
    for n in tl.static_range(COUNT):
        record = tl.where((field == n) & exists[:, None], numbers[n][:, None], record)
    tl.store(records + item[:, None] * RECORD + field, record, mask=valid[:, None])


@triton.jit
def windows(x0, x1, y0, y1, WIDTH: tl.constexpr, HEIGHT: tl.constexpr):  # type: ignore[no-untyped-def]
    """How many windows of WIDTH x HEIGHT pixels fill each box [ITEMS], in a row of it and altogether."""
    across = tl.maximum((x1 - x0 + WIDTH - 1) // WIDTH, 0)
    down = tl.maximum((y1 - y0 + HEIGHT - 1) // HEIGHT, 0)
    return tl.maximum(across, 1), across * down


@triton.jit
def window_pixels(  # type: ignore[no-untyped-def]
    n, x0, x1, y0, y1, across, WIDTH: tl.constexpr, HEIGHT: tl.constexpr
):
    """Columns and rows [ITEMS,WIDTH * HEIGHT] of the n-th window of each box, and which of them lie in it."""
    lane = tl.arange(0, WIDTH * HEIGHT)[None, :]
    column = (x0 + n % across * WIDTH)[:, None] + lane % WIDTH
    row = (y0 + n // across * HEIGHT)[:, None] + lane // WIDTH
    return column, row, (column < x1[:, None]) & (row < y1[:, None])
