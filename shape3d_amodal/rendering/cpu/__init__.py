"""The silhouettes on the CPU: numba kernels, the images of a batch spread over a few threads."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from shape3d_amodal.rendering.cpu import edge, product
from shape3d_amodal.rendering.topology import topology_of

DEVICE = "cpu"


class _Silhouettes(torch.autograd.Function):
    """All that is kept for the gradient is the image itself; what is near each pixel is found again."""

    @staticmethod
    def forward(ctx: Any, mode: ModuleType, verts: Tensor, faces: Tensor, image_size: int, sigma: float) -> Tensor:
        verts = verts.contiguous()
        alpha = verts.new_zeros(len(verts), image_size, image_size)
        points, mesh, image = verts.detach().numpy(), _mesh(mode, faces), alpha.numpy()
        _over_images(len(verts), lambda first, last: mode.forward(points, *mesh, sigma, image, first, last))
        ctx.save_for_backward(verts, faces, alpha)
        ctx.sigma, ctx.mode = sigma, mode
        return alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None]:
        verts, faces, alpha = ctx.saved_tensors
        grad_verts = torch.zeros_like(verts)
        mode, sigma = ctx.mode, ctx.sigma
        points, mesh = verts.detach().numpy(), _mesh(mode, faces)
        image, grad_image, out = alpha.numpy(), grad.contiguous().numpy(), grad_verts.numpy()
        _over_images(
            len(verts), lambda first, last: mode.backward(points, *mesh, sigma, image, grad_image, out, first, last)
        )
        return None, grad_verts, None, None, None


product_silhouettes = functools.partial(_Silhouettes.apply, product)
edge_silhouettes = functools.partial(_Silhouettes.apply, edge)
"""``verts`` [B,V,3] float32 NDC, ``faces`` [F,3] or [B,F,3], image size and sigma -> [B,H,W]; see
``render_silhouettes``."""


def _mesh(mode: ModuleType, faces: Tensor) -> tuple[NDArray[Any], ...]:
    """What the kernels take of the meshes: the faces, [B,F,3] or [1,F,3] if shared, and in edge mode the edges."""
    batched = (faces if faces.ndim == 3 else faces[None]).contiguous().numpy()
    if mode is product:
        return (batched,)
    topology = topology_of(faces)
    parts = (topology.edges, topology.first_edge, topology.first_side, topology.face, topology.along)
    return (batched, *(part.numpy() for part in parts))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(64, thread_name_prefix="silhouettes")  # threads are started as they are needed


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of its parent's threads


def _over_images(count: int, work: Callable[[int, int], None]) -> None:
    """Run ``work(first, last)`` over the images, in as many threads as torch may use, this one among them.

    An image is the work of one thread, so the result does not depend on their number.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        work(0, count)
        return
    step = math.ceil(count / (4 * threads))  # a few portions each, for images differ
    portions = iter(range(0, count, step))

    def work_on_portions() -> None:
        for first in portions:
            work(first, min(first + step, count))

    helpers = [_pool().submit(work_on_portions) for _ in range(threads - 1)]
    work_on_portions()
    for helper in helpers:
        helper.result()
