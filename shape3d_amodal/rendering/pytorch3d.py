"""The silhouettes of PyTorch3D's ``SoftSilhouetteShader``, for comparison and interoperability.

On a CPU its backward pass is about a thousand times slower than ours.
"""

from __future__ import annotations

import torch
from pytorch3d.renderer import BlendParams, SoftSilhouetteShader
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.renderer.mesh.rasterizer import Fragments
from pytorch3d.structures import Meshes
from torch import Tensor

from shape3d_amodal.rendering.reference import blur_radius

FACES_PER_PIXEL = 100  # nearest faces that count at a pixel; PyTorch3D's CUDA kernels stop at 150


def product_silhouettes(
    verts: Tensor, faces: Tensor, image_size: int, sigma: float, bin_size: int | None = 0
) -> Tensor:
    """``verts`` [B,V,3] NDC, ``faces`` [F,3] or [B,F,3] -> [B,H,W]; see ``render_silhouettes``.

    ``bin_size`` 0 is without bins, for bins that overflow lose faces; None, PyTorch3D's own choice, is faster on a GPU.
    """
    B = len(verts)
    if B == 0 or faces.numel() == 0:
        return verts.new_zeros(B, image_size, image_size) + 0 * verts.sum()
    # A vertex that is not finite goes behind the camera, where the rasterizer drops its faces.
    usable = verts.isfinite().all(dim=-1, keepdim=True)
    verts = torch.where(usable, verts, torch.full_like(verts, -1.0))
    meshes = Meshes(verts, faces if faces.ndim == 3 else faces[None].expand(B, -1, -1))
    fragments = rasterize_meshes(
        meshes,
        image_size=image_size,
        blur_radius=blur_radius(sigma),
        faces_per_pixel=min(FACES_PER_PIXEL, faces.shape[-2]),
        bin_size=bin_size,
        clip_barycentric_coords=True,  # else a face's plane, extended behind the camera, removes its rim
    )
    shader = SoftSilhouetteShader(BlendParams(sigma=sigma))
    return shader(Fragments(*fragments), meshes)[..., 3]
