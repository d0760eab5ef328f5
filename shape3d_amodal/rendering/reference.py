"""The silhouettes in plain torch: slow, short and readable; any device, float32 or float64, gradients by autograd.

It is the oracle of the faster backends, and serves where they do not run.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NEAR = 1e-8  # PyTorch3D's kEpsilon, for depth and for twice the area
AREA = 1e-8


def blur_radius(sigma: float) -> float:
    """Squared NDC distance beyond which sigmoid(-d^2 / sigma) < 1e-4 counts as nothing, as in PyTorch3D and SoftRas."""
    return math.log(1 / 1e-4 - 1) * sigma


def product_silhouettes(verts: Tensor, faces: Tensor, image_size: int, sigma: float) -> Tensor:
    """alpha = 1 - prod_j (1 - sigmoid(x_j)) = 1 - exp(-sum_j softplus(x_j)), x_j = +-d_j^2 / sigma; see the public one.

    Args:
        verts: [B,V,3] float32 or float64 in NDC.
        faces: [F,3] or [B,F,3] int64.

    Returns:
        [B,H,W] in 0..1.
    """
    triangles, image = drawable_triangles(verts, faces)
    face, pixel = face_pixel_pairs(triangles, image, image_size, math.sqrt(blur_radius(sigma)))
    p = pixel_centres(pixel, image_size, verts.dtype)  # [P,2]
    corners = triangles.index_select(0, face)  # [P,3,2]
    squared = boundary_distance(p, corners)
    inside = is_inside(p, corners.detach())
    x = torch.where(inside, squared, -squared) / sigma
    weight = torch.where(inside | (squared < blur_radius(sigma)), torch.nn.functional.softplus(x), 0.0)
    optical_depth = verts.new_zeros(len(verts) * image_size**2).index_add(0, pixel, weight)
    return -torch.expm1(-optical_depth).view(len(verts), image_size, image_size)


def drawable_triangles(verts: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The screen corners [N,3,2] of all faces that count, and the image [N] each belongs to."""
    B, V, _ = verts.shape
    faces = faces.expand(B, -1, 3) if faces.ndim == 3 else faces[None].expand(B, -1, 3)
    index = (faces + V * torch.arange(B, device=faces.device)[:, None, None]).reshape(-1)
    corners = verts.reshape(-1, 3).index_select(0, index).view(-1, 3, 3)  # [BF,3,3]
    drawn = drawable(corners.detach()).nonzero().squeeze(1)
    return corners.index_select(0, drawn)[..., :2], drawn // max(faces.shape[1], 1)


def drawable(corners: Tensor) -> Tensor:
    """Which faces [N,3,3] are finite, in front of the near plane and not edge-on."""
    finite = corners.isfinite().all(dim=-1).all(dim=-1)
    in_front = (corners[..., 2] >= NEAR).all(dim=-1)
    return finite & in_front & (cross(corners[..., :2], corners[:, :1, :2])[:, 1].abs() > AREA)


def cross(corners: Tensor, p: Tensor) -> Tensor:
    """Twice the signed area of (p, corner k, corner k + 1): [N,3] for corners [N,3,2] and p [N,1,2]."""
    u, w = corners - p, corners.roll(-1, dims=1) - p
    return u[..., 0] * w[..., 1] - u[..., 1] * w[..., 0]


def face_pixel_pairs(triangles: Tensor, image: Tensor, image_size: int, margin: float) -> tuple[Tensor, Tensor]:
    """Indices (triangle [P], flat pixel of the batch [P]) of all pixels in each triangle's box grown by ``margin``."""
    low = triangles.detach().amin(dim=1) - margin
    high = triangles.detach().amax(dim=1) + margin
    # Column and row fall as x and y rise. One pixel more on each side: the exact test comes later.
    first = ((1 - high) * image_size / 2 - 1.5).clamp(0, image_size).long()  # [N,2] column, row
    last = ((1 - low) * image_size / 2 + 0.5).clamp(-1, image_size - 1).floor().long()
    width, height = (last - first + 1).clamp(min=0).unbind(dim=1)
    count = width * height
    triangle = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    nth = torch.arange(len(triangle), device=count.device) - (count.cumsum(0) - count)[triangle]
    column = first[triangle, 0] + nth % width[triangle]
    row = first[triangle, 1] + torch.div(nth, width[triangle], rounding_mode="floor")
    return triangle, (image[triangle] * image_size + row) * image_size + column


def pixel_centres(pixel: Tensor, image_size: int, dtype: torch.dtype) -> Tensor:
    """NDC centres [P,2] of flat pixel indices [P] of a batch of images."""
    column = pixel % image_size
    row = torch.div(pixel, image_size, rounding_mode="floor") % image_size
    return 1 - (2 * torch.stack([column, row], dim=1).to(dtype) + 1) / image_size


def segment_distance(p: Tensor, u: Tensor, w: Tensor) -> Tensor:
    """Squared distance of points p to segments (u, w), all [...,2]."""
    edge = w - u
    t = ((p - u) * edge).sum(-1) / (edge * edge).sum(-1).clamp(min=torch.finfo(p.dtype).tiny)
    r = p - u - t.clamp(0, 1).unsqueeze(-1) * edge
    return (r * r).sum(-1)


def boundary_distance(p: Tensor, corners: Tensor) -> Tensor:
    """Squared distance [P] of points p [P,2] to the boundaries of triangles [P,3,2]."""
    return segment_distance(p[:, None], corners, corners.roll(-1, dims=1)).min(dim=1).values


def is_inside(p: Tensor, corners: Tensor) -> Tensor:
    """Which points p [P,2] lie strictly inside triangles [P,3,2] of either orientation."""
    area = cross(corners, p[:, None])
    return (area > 0).all(dim=1) | (area < 0).all(dim=1)
