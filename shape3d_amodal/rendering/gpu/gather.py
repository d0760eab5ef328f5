"""From the gradients by the corners of faces, or the ends of edges, to those by vertices, on the GPU.

Each vertex sums what belongs to it, always in the same order; where that stands is found once for each tensor of faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from shape3d_amodal.rendering.gpu.geometry import program_items

VERTICES_AT_ONCE = 128


@dataclass(frozen=True)
class Incidence:
    """Which corners of items (faces or edges) are at which vertex, for M = 1 or B meshes.

    Attributes:
        corner: [M,N * K] int32, item * K + corner, vertex after vertex.
        first: [M,V+1] int32, where those of each vertex begin.
    """

    corner: Tensor
    first: Tensor


def incidence(items: Tensor, vertices: int) -> Incidence:
    """Of ``items`` [M,N,K], vertex indices below ``vertices``; does not wait for the GPU."""
    flat = items.reshape(len(items), items.shape[1] * items.shape[2])
    ordered, corner = flat.sort(dim=1, stable=True)
    bounds = torch.arange(vertices + 1, device=items.device).expand(len(items), -1).contiguous()
    return Incidence(corner.int(), torch.searchsorted(ordered, bounds, out_int32=True))


def sum_by_vertex(corner_grad: Tensor, at: Incidence, vertices: int) -> Tensor:
    """``corner_grad`` [B,N,K,2] to [B,V,3]; depth has no gradient."""
    B, N, K, _ = corner_grad.shape
    grad = corner_grad.new_empty(B, vertices, 3)
    blocks = triton.cdiv(vertices, VERTICES_AT_ONCE)
    shared = len(at.first) == 1
    sum_kernel[(B * blocks,)](
        corner_grad, at.corner, at.first, grad, vertices, N * K, 0 if shared else N * K, 0 if shared else vertices + 1,
        blocks, VERTICES=VERTICES_AT_ONCE,
    )  # fmt: skip
    return grad


@triton.jit(do_not_specialize=["vertices", "corners", "corner_stride", "first_stride", "blocks"])
def sum_kernel(  # type: ignore[no-untyped-def]
    corner_grad, corner, first, grad, vertices, corners, corner_stride, first_stride, blocks, VERTICES: tl.constexpr
):  # fmt: skip
    """Write the gradient by ``VERTICES`` vertices."""
    b, v, valid = program_items(vertices, blocks, VERTICES)
    begin = tl.load(first + b * first_stride + v, mask=valid, other=0)
    end = tl.load(first + b * first_stride + v + 1, mask=valid, other=0)
    x, y = tl.zeros([VERTICES], tl.float32), tl.zeros([VERTICES], tl.float32)
    for n in range(tl.max(end - begin)):
        has = begin + n < end
        which = tl.load(corner + b * corner_stride + begin + n, mask=has, other=0)
        source = corner_grad + (b * corners + which) * 2
        x += tl.load(source, mask=has, other=0.0)
        y += tl.load(source + 1, mask=has, other=0.0)
    target = grad + (b * vertices + v) * 3
    tl.store(target, x, mask=valid)
    tl.store(target + 1, y, mask=valid)
    tl.store(target + 2, tl.zeros([VERTICES], tl.float32), mask=valid)
