"""The fit of known meshes at test time: camera, stretch along the axes, and a smooth deformation.

The deformation is a free-form one (Sederberg & Parry, 1986) with trilinear weights: a small lattice of displacements
over the mesh's bounding box. It needs no connectivity, so it serves any mesh.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import grid_sample

from shape3d_amodal.config import configuration
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.priors.optimization import FreeViewpoint
from shape3d_amodal.rendering import blur_sigma, render_silhouettes
from shape3d_amodal.structures import Viewpoint


@configuration
class DeformationConfig:
    """How far a known mesh may be deformed to fit an image."""

    lattice: int = 4
    """Nodes of the lattice along each axis."""
    learning_rate: float = 0.03
    """Adam's step for angles (radians), log-scale, shift and log-stretch."""
    lattice_rate: float = 0.01
    """Adam's step for the lattice's displacements (object frame)."""
    lattice_weight: float = 5.0
    """Weight of the mean squared displacement."""
    stretch_weight: float = 0.05
    """Weight of the squared log-stretch."""
    roll_weight: float = 0.5
    """Weight of the squared roll (radians)."""


class DeformedMeshes:
    """M meshes with a camera each, free to move and to deform (``optimization.Renderable``).

    Args:
        verts: [M,V,3] float32, object frame.
        faces: [M,F,3] int64; rows of equal indices are padding.
        viewpoint: shapes [M], where the fit starts.
        size: side of the crops in pixels.
        config: what is free, and how much.
    """

    def __init__(
        self, verts: Tensor, faces: Tensor, viewpoint: Viewpoint, size: int, config: DeformationConfig
    ) -> None:
        self._verts, self.faces, self._size, self._config = verts, faces, size, config
        n = config.lattice
        self.viewpoint = FreeViewpoint(viewpoint)
        self._stretch = verts.new_zeros(len(verts), 3).requires_grad_()
        self._lattice = verts.new_zeros(len(verts), 3, n, n, n).requires_grad_()
        # The lattice spans the cube that holds every mesh of diagonal 1; grid_sample's last axis is (x, y, z).
        self._places = (2 * verts).clamp(-1, 1)[:, :, None, None]

    def groups(self) -> list[dict[str, Any]]:
        return [
            {"params": [*self.viewpoint.leaves, self._stretch], "lr": self._config.learning_rate},
            {"params": [self._lattice], "lr": self._config.lattice_rate},
        ]

    def verts(self) -> Tensor:
        """The meshes as they are now, [M,V,3]."""
        moved = grid_sample(self._lattice, self._places, align_corners=True)[:, :, :, 0, 0].transpose(1, 2)
        return (self._verts + moved) * self._stretch.exp()[:, None]

    def silhouettes(self, blur_px: float) -> Tensor:
        screen = project(self.verts(), self.viewpoint.value())
        return render_silhouettes(screen, self.faces, self._size, blur_sigma(blur_px, self._size))

    def clamp(self) -> None:
        self.viewpoint.clamp()

    def penalty(self) -> Tensor:
        config = self._config
        bent = config.lattice_weight * self._lattice.pow(2).mean(dim=(1, 2, 3, 4))
        stretched = config.stretch_weight * self._stretch.pow(2).sum(dim=1)
        return bent + stretched + config.roll_weight * self.viewpoint.leaves[2].pow(2)
