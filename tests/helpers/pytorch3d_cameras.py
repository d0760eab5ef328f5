"""The camera of a crop as one of PyTorch3D's, to compare with."""

from __future__ import annotations

from pytorch3d.renderer import PerspectiveCameras

from shape3d_amodal.geometry.cameras import DISTANCE, FOCAL, rotation
from shape3d_amodal.structures import Viewpoint


def to_pytorch3d(viewpoint: Viewpoint) -> PerspectiveCameras:
    """The same cameras for PyTorch3D's renderers: its NDC coordinates of a point equal ``project``'s."""
    R = rotation(viewpoint.azimuth, viewpoint.elevation, viewpoint.roll).transpose(1, 2)  # PyTorch3D multiplies rows
    T = R.new_tensor([0.0, 0.0, DISTANCE]).expand(len(R), 3)
    return PerspectiveCameras(
        focal_length=(FOCAL * viewpoint.scale)[:, None].expand(-1, 2),
        principal_point=viewpoint.offset,
        R=R,
        T=T,
        device=R.device,
    )
