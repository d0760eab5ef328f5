"""The camera of a crop: PyTorch3D's look-at camera, then a scale and a shift in the crop's NDC.

Azimuth and elevation are those of ``pytorch3d.renderer.look_at_view_transform``: at (0, 0) the camera stands on the
object's +z axis and sees its front; with growing azimuth it moves towards the object's +x axis, with growing elevation
upwards.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from shape3d_amodal.structures import Viewpoint

DISTANCE = 2.732
"""Distance of the camera from the object's origin, as in the renders of NMR (Kato et al., CVPR 2018)."""
FOCAL = 1 / math.tan(math.radians(15))
"""Focal length in NDC: half the field of view is 15 degrees, as in the renders of NMR."""


def rotation(azimuth: Tensor, elevation: Tensor, roll: Tensor) -> Tensor:
    """World-to-view rotations [N,3,3] from angles [N] in radians; the rows are the view's left, up and forward axes.

    A positive roll turns the image counter-clockwise.
    """
    sin_a, cos_a, sin_e, cos_e = azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()
    left = torch.stack([-cos_a, torch.zeros_like(cos_a), sin_a], dim=-1)
    up = torch.stack([-sin_e * sin_a, cos_e, -sin_e * cos_a], dim=-1)
    forward = torch.stack([-cos_e * sin_a, -sin_e, -cos_e * cos_a], dim=-1)
    sin_r, cos_r = roll.sin()[..., None], roll.cos()[..., None]
    return torch.stack([cos_r * left + sin_r * up, cos_r * up - sin_r * left, forward], dim=-2)


def project(verts: Tensor, viewpoint: Viewpoint) -> Tensor:
    """Project object-frame vertices into crop NDC.

    Args:
        verts: [N,V,3], object frame.
        viewpoint: shapes [N].

    Returns:
        [N,V,3]: x (left) and y (up) in crop NDC, and the depth along the viewing axis.
    """
    with torch.autocast(verts.device.type, enabled=False):  # in bf16 vertices would miss their pixels
        view = verts @ rotation(viewpoint.azimuth, viewpoint.elevation, viewpoint.roll).transpose(1, 2)
    depth = view[..., 2:] + DISTANCE
    flat = view[..., :2] * (FOCAL * viewpoint.scale[:, None, None] / depth) + viewpoint.offset[:, None]
    return torch.cat([flat, depth], dim=-1)
