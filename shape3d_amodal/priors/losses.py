"""What a silhouette and a mesh are judged by. Silhouette losses count the certain pixels alone."""

from __future__ import annotations

import torch
from torch import Tensor

from shape3d_amodal.geometry.templates import Template
from shape3d_amodal.structures import InstanceCrops


def certain_iou(silhouette: Tensor, crops: InstanceCrops) -> Tensor:
    """Soft IoU of silhouettes with the visible masks over the certain pixels.

    A pixel is certainly inside (visible), certainly outside (known background), or unknown (an occluder, or beyond the
    image); unknown pixels do not count: a pixel's weight is the share of it that is not occluder.

    Args:
        silhouette: [N,S,S] in 0..1.
        crops: the instances.

    Returns:
        [N] in 0..1; the silhouettes' gradient flows through.
    """
    weight = 1 - crops.occluder
    inside = crops.visible.clamp(max=1)
    inter = (silhouette * inside).sum(dim=(1, 2))
    union = (inside + weight * silhouette).sum(dim=(1, 2)) - inter
    return inter / union.clamp(min=1e-6)


def laplacian_energy(verts: Tensor, template: Template) -> Tensor:
    """Sum of squared uniform Laplacian coordinates, as in SoftRas: [N] for [N,V,3]."""
    count, vertices, _ = verts.shape
    flat = verts.permute(1, 0, 2).reshape(vertices, 3 * count)
    with torch.autocast(verts.device.type, enabled=False):  # geometry wants float32
        smoothed = template.laplacian.to(verts.device) @ flat
    return smoothed.view(vertices, count, 3).pow(2).sum(dim=(0, 2))


def flatness_energy(verts: Tensor, template: Template) -> Tensor:
    """Sum over the edges of (1 - cosine between the two faces' normals)^2, as in SoftRas' flatten loss: [N]."""
    start, end, left, right = (verts[:, index] for index in template.edge_faces.unbind(dim=1))
    edge = end - start
    normal_left = torch.cross(edge, left - start, dim=-1)
    normal_right = torch.cross(right - start, edge, dim=-1)
    cosine = torch.nn.functional.cosine_similarity(normal_left, normal_right, dim=-1)
    return (1 - cosine).pow(2).sum(dim=1)
