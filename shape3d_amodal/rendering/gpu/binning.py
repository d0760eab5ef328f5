"""Which items (faces or edges) touch which tiles of the images, on the GPU and without waiting for it.

Every tile looks at the boxes of all items of its image, twice: to count those that touch it, and, when sums of the
counts have given each tile its place, to list them in ascending order. So the lists are the same in every run. Their
common length is known on the GPU alone; the room for them is fixed beforehand. A tile whose list does not fit into it
goes through all items of its image instead: slower, but nothing is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from shape3d_amodal.rendering.gpu.geometry import load_box

TILE = 8  # pixels
TILES_A_PROGRAM, ITEMS_A_STEP, ITEMS_A_PROGRAM = 16, 64, 1024


@dataclass(frozen=True)
class Bins:
    """The items of each tile.

    Attributes:
        listed: [capacity] int32, indices of items within their image, tile after tile and image after image.
        ends: [B * tiles * chunks] int64, where the part of each list ends that comes from each chunk of items.
        chunks: number of such parts for each tile.
        across, tiles: tiles in a row, and in an image of [down,across] tiles.
    """

    listed: Tensor
    ends: Tensor
    chunks: int
    across: int
    tiles: int

    @property
    def capacity(self) -> int:
        return len(self.listed)


def room(batch: int, items: int, tiles: int) -> int:
    """For how many pairs of item and tile there is room: 16 tiles an item and 64 items a tile, or all there can be."""
    return batch * min(items * tiles, 16 * items + 64 * tiles)


def bin_by_tile(boxes: Tensor, batch: int, width: int, height: int) -> Bins:
    """The items that touch each tile of ``batch`` images of ``width`` x ``height`` pixels.

    Args:
        boxes: [4,B * items] int32, columns [x0, x1) and rows [y0, y1) of each item; empty where x0 >= x1 or y0 >= y1.
    """
    items = boxes.shape[1] // batch
    across, down = triton.cdiv(width, TILE), triton.cdiv(height, TILE)
    tiles, chunks = across * down, max(1, triton.cdiv(items, ITEMS_A_PROGRAM))
    counts = boxes.new_empty(batch * tiles * chunks)
    blocks = triton.cdiv(tiles, TILES_A_PROGRAM)
    grid = (batch * blocks, chunks)
    shape = (items, boxes.shape[1], across, tiles, blocks, chunks)
    sizes = {"TILE": TILE, "TILES": TILES_A_PROGRAM, "STEP": ITEMS_A_STEP, "CHUNK": ITEMS_A_PROGRAM}
    count_kernel[grid](boxes, counts, *shape, **sizes)
    ends = counts.cumsum(0)
    listed = boxes.new_empty(room(batch, items, tiles))
    list_kernel[grid](boxes, counts, ends, listed, len(listed), *shape, **sizes)
    return Bins(listed, ends, chunks, across, tiles)


@triton.jit(do_not_specialize=["items", "all_items", "across", "tiles", "blocks", "chunks"])
def count_kernel(  # type: ignore[no-untyped-def]
    boxes, counts, items, all_items, across, tiles, blocks, chunks, TILE: tl.constexpr, TILES: tl.constexpr,
    STEP: tl.constexpr, CHUNK: tl.constexpr
):  # fmt: skip
    """Count the items of one chunk at each of ``TILES`` tiles."""
    b, tile, place = _place(tiles, blocks, chunks, TILES)
    number = tl.zeros([TILES], tl.int32)
    first = tl.program_id(1) * CHUNK
    for item in range(first, tl.minimum(first + CHUNK, items), STEP):
        touches = _touches(boxes, b, item + tl.arange(0, STEP), items, all_items, tile, across, TILE)
        number += tl.sum(touches.to(tl.int32), axis=1)
    tl.store(counts + place, number, mask=tile < tiles)


@triton.jit(do_not_specialize=["capacity", "items", "all_items", "across", "tiles", "blocks", "chunks"])
def list_kernel(  # type: ignore[no-untyped-def]
    boxes, counts, ends, listed, capacity, items, all_items, across, tiles, blocks, chunks, TILE: tl.constexpr,
    TILES: tl.constexpr, STEP: tl.constexpr, CHUNK: tl.constexpr
):  # fmt: skip
    """List what ``count_kernel`` has counted, as far as there is room."""
    b, tile, place = _place(tiles, blocks, chunks, TILES)
    next_free = tl.load(ends + place, mask=tile < tiles, other=0) - tl.load(counts + place, mask=tile < tiles, other=0)
    first = tl.program_id(1) * CHUNK
    for start in range(first, tl.minimum(first + CHUNK, items), STEP):
        item = start + tl.arange(0, STEP)
        touches = _touches(boxes, b, item, items, all_items, tile, across, TILE)
        one = touches.to(tl.int32)
        slot = next_free[:, None] + tl.cumsum(one, axis=1) - one
        numbers = tl.broadcast_to(item[None, :], (TILES, STEP))
        tl.store(listed + slot, numbers, mask=touches & (tile < tiles)[:, None] & (slot < capacity))
        next_free += tl.sum(one, axis=1)


@triton.jit
def _place(tiles, blocks, chunks, TILES: tl.constexpr):  # type: ignore[no-untyped-def]
    """This program's image, its tiles, and where their counts of its chunk stand."""
    b = (tl.program_id(0) // blocks).to(tl.int64)
    tile = tl.program_id(0) % blocks * TILES + tl.arange(0, TILES)
    return b, tile, (b * tiles + tile) * chunks + tl.program_id(1)


@triton.jit
def _touches(boxes, b, item, items, all_items, tile, across, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which items touch which tiles: [TILES,STEP]."""
    x0, x1, y0, y1 = load_box(boxes, b * items + item, all_items, item < items)
    left, top = (tile % across * TILE)[:, None], (tile // across * TILE)[:, None]
    in_columns = (x0[None, :] < left + TILE) & (x1[None, :] > left)
    in_rows = (y0[None, :] < top + TILE) & (y1[None, :] > top)
    return in_columns & in_rows & ((x0 < x1) & (y0 < y1))[None, :]


@triton.jit
def tile_items(ends, tile, chunks, capacity, items):  # type: ignore[no-untyped-def]
    """Where the list of a tile (counted over all images) begins and ends, and whether it must be read; where it did
    not fit, all items count and stand for themselves. ``tile`` may be a block."""
    last = (tile + 1) * chunks - 1
    before = tile * chunks - 1
    begin, end = tl.load(ends + before, mask=before >= 0, other=0), tl.load(ends + last)
    fits = end <= capacity
    return tl.where(fits, begin, 0), tl.where(fits, end, items), fits


@triton.jit
def item_at(listed, n, fits):  # type: ignore[no-untyped-def]
    """The n-th item of a tile, for n from begin to end as ``tile_items`` gives them."""
    return tl.where(fits, tl.load(listed + n, mask=fits, other=0), n)


@triton.jit
def tile_pixels(tile, across, width, height, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Columns [1,TILE] and rows [TILE,1] of a tile of an image, and which of its pixels [TILE,TILE] there are."""
    column = (tile % across * TILE + tl.arange(0, TILE))[None, :]
    row = (tile // across * TILE + tl.arange(0, TILE))[:, None]
    return column, row, (column < width) & (row < height)
