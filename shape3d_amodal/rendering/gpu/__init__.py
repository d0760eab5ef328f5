"""The silhouettes on a CUDA device: Triton kernels, and no waiting for the device."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from shape3d_amodal.rendering.gpu import edge as gpu_edge
from shape3d_amodal.rendering.gpu import geometry, product

DEVICE = geometry.DEVICE


class _Silhouettes(torch.autograd.Function):
    """For the gradient the image is kept, and in edge mode which edge is nearest to each pixel."""

    @staticmethod
    def forward(ctx: Any, mode: ModuleType, verts: Tensor, faces: Tensor, image_size: int, sigma: float) -> Tensor:
        verts = verts.contiguous()
        if len(verts) and faces.numel():
            with torch.cuda.device_of(verts):
                alpha, *kept = mode.forward(verts, faces, image_size, sigma)
        else:
            alpha, kept = verts.new_zeros(len(verts), image_size, image_size), []
        ctx.save_for_backward(verts, faces, alpha, *kept)
        ctx.sigma, ctx.mode = sigma, mode
        return alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None]:
        verts, faces, alpha, *kept = ctx.saved_tensors
        if not (len(verts) and faces.numel()):
            return None, torch.zeros_like(verts), None, None, None
        with torch.cuda.device_of(verts):
            grad_verts = ctx.mode.backward(verts, faces, alpha, grad.contiguous(), ctx.sigma, *kept)
        return None, grad_verts, None, None, None


product_silhouettes = partial(_Silhouettes.apply, product)
edge_silhouettes = partial(_Silhouettes.apply, gpu_edge)
"""``verts`` [B,V,3] float32 NDC, ``faces`` [F,3] or [B,F,3], image size and sigma -> [B,H,W]; see
``render_silhouettes``."""
