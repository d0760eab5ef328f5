"""What the Triton kernels are put together from: lists of tiles, edges of meshes, sums by vertex."""

from __future__ import annotations

import itertools

import interpreter  # noqa: F401
import pytest
import torch

from shape3d_amodal.rendering.gpu import binning
from shape3d_amodal.rendering.gpu.binning import TILE, bin_by_tile
from shape3d_amodal.rendering.gpu.contour import edges_of
from shape3d_amodal.rendering.gpu.gather import incidence, sum_by_vertex


def lists_of(bins, batch):
    """The items of each tile of each image."""
    ends = [0, *bins.ends.view(batch * bins.tiles, bins.chunks)[:, -1].tolist()]
    return [bins.listed[begin:end].tolist() for begin, end in itertools.pairwise(ends)]


@pytest.mark.parametrize("chunk", [64, 1024])
def test_lists_of_tiles_by_brute_force(chunk, monkeypatch):
    """Random boxes, some empty, in images whose sides are no multiples of a tile."""
    monkeypatch.setattr(binning, "ITEMS_A_PROGRAM", chunk)
    batch, items, width, height = 2, 150, 3 * TILE + 3, 2 * TILE + 1
    generator = torch.Generator().manual_seed(0)
    x0, y0 = torch.randint(0, width, (2, batch * items), generator=generator, dtype=torch.int32)
    sides = torch.randint(0, 12, (2, batch * items), generator=generator, dtype=torch.int32)
    x1, y1 = (x0 + sides[0]).clamp(max=width), (y0 + sides[1]).clamp(max=height)
    bins = bin_by_tile(torch.stack([x0, x1, y0, y1]), batch, width, height)
    assert (bins.across, bins.tiles, bins.chunks) == (4, 12, -(-items // chunk))
    column, row = torch.meshgrid(torch.arange(4 * TILE), torch.arange(3 * TILE), indexing="xy")
    columns = (column[..., None] >= x0) & (column[..., None] < x1)
    rows = (row[..., None] >= y0) & (row[..., None] < y1)
    touched = (columns & rows).view(3, TILE, 4, TILE, batch, items).any(3).any(1)  # [3,4,B,items]
    expected = [touched[n // 4, n % 4, b].nonzero().squeeze(1).tolist() for b in range(batch) for n in range(12)]
    assert lists_of(bins, batch) == expected


def test_room_suffices_for_small_meshes():
    assert binning.room(3, 20, 16) == 3 * 20 * 16  # each item may touch each tile
    assert binning.room(2, 10_000, 1024) == 2 * (16 * 10_000 + 64 * 1024)


def test_incidence():
    at = incidence(torch.tensor([[[0, 2, 3], [2, 0, 3]]]), 5)
    assert at.first.tolist() == [[0, 2, 2, 4, 6, 6]]  # vertices 1 and 4 are nobody's
    assert at.corner.tolist() == [[0, 4, 1, 3, 2, 5]]


@pytest.mark.parametrize("meshes", [1, 3])
def test_sums_by_vertex(meshes):
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 70, (meshes, 90, 3), generator=generator)
    corner_grad = torch.randn(3, 90, 3, 2, generator=generator)
    expected = torch.zeros(3, 70, 3, dtype=torch.float64)
    for b in range(3):
        expected[b, :, :2].index_add_(0, faces[b % meshes].reshape(-1), corner_grad[b].double().reshape(-1, 2))
    grad = sum_by_vertex(corner_grad, incidence(faces, 70), 70).double()
    torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-5)


def test_edges_of_meshes_of_unequal_size():
    faces = torch.tensor([[[0, 1, 2], [2, 1, 3]], [[3, 1, 0], [0, 0, 0]]])
    edges = edges_of(faces, 4)
    assert edges.ends.tolist()[0] == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert edges.ends.tolist()[1][:4] == [[0, 0], [0, 1], [0, 3], [1, 3]]
    begin, end = edges.sides.unbind(-1)
    assert (end - begin).tolist() == [[1, 1, 2, 1, 1], [3, 1, 1, 1, 0]]  # the second mesh has no fifth edge
    middle = slice(int(begin[0, 2]), int(end[0, 2]))
    assert sorted(zip(edges.face[middle].tolist(), edges.along[middle].tolist(), strict=True)) == [(0, 1), (1, -1)]
    assert edges_of(faces, 4) is edges
