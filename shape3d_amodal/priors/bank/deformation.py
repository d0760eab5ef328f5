"""The fit of known meshes to objects that are like them: stretch along the axes, and a smooth deformation.

The deformation is a free-form one (Sederberg & Parry, 1986) with trilinear weights: a small lattice of displacements
over the mesh's bounding box. It needs no connectivity, so it serves any mesh. The camera, which has been found before,
moves along; its distance stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from shape3d_amodal.config import configuration
from shape3d_amodal.priors.bank.poses import ASPECT, CX, CY, DISTANCE, POSE, SCALE, U, V
from shape3d_amodal.rendering import blur_sigma, render_silhouettes


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
    turn_weight: float = 0.05
    """Weight of the squared turn (radians) from the pose that was found."""


class DeformedMeshes:
    """M meshes in a pose each, free to move and to deform (``optimization.Renderable``).

    Args:
        verts: [M,V,3] float32, object frame.
        faces: [M,F,3] int64; rows of equal indices are padding.
        poses: [M,POSE] float32 (``poses``), where the fit starts.
        window: [M,4] float32, the crops in image pixels, square.
        size: side of the crops in pixels.
        config: what is free, and how much.
    """

    def __init__(
        self, verts: Tensor, faces: Tensor, poses: Tensor, window: Tensor, size: int, config: DeformationConfig
    ) -> None:
        self._verts, self.faces, self._size, self._config = verts, faces, size, config
        self._start, self._window = poses, window
        n = config.lattice

        def free(*shape: int) -> Tensor:
            return verts.new_zeros(len(verts), *shape).requires_grad_()

        self._turn, self._scale, self._shift, self._stretch = free(3), free(), free(2), free(3)
        self._lattice = free(3, n, n, n)
        # The lattice spans the cube that holds every mesh of diagonal 1; grid_sample's last axis is (x, y, z).
        self._places = (2 * verts).clamp(-1, 1)[:, :, None, None]

    def groups(self) -> list[dict[str, Any]]:
        return [
            {"params": [self._turn, self._scale, self._shift, self._stretch], "lr": self._config.learning_rate},
            {"params": [self._lattice], "lr": self._config.lattice_rate},
        ]

    def verts(self) -> Tensor:
        """The meshes as they are now, [M,V,3]."""
        moved = grid_sample(self._lattice, self._places, align_corners=True)[:, :, :, 0, 0].transpose(1, 2)
        return (self._verts + moved) * self._stretch.exp()[:, None]

    def poses(self) -> Tensor:
        """The poses as they are now, [M,POSE]."""
        start = self._start
        rotation = _rotations(self._turn) @ start[:, :9].view(-1, 3, 3)
        place = start[:, [U, V]] + self._shift * start[:, SCALE, None]
        scale = start[:, SCALE] * self._scale.exp()
        return torch.cat([rotation.flatten(1), scale[:, None], place, start[:, DISTANCE:]], dim=1)

    def silhouettes(self, blur_px: float) -> Tensor:
        screen = in_crop(self.verts(), self.poses(), self._window)
        return render_silhouettes(screen, self.faces, self._size, blur_sigma(blur_px, self._size))

    def clamp(self) -> None:
        """Nothing is bounded."""

    def penalty(self) -> Tensor:
        config = self._config
        bent = config.lattice_weight * self._lattice.pow(2).mean(dim=(1, 2, 3, 4))
        stretched = config.stretch_weight * self._stretch.pow(2).sum(dim=1)
        return bent + stretched + config.turn_weight * self._turn.pow(2).sum(dim=1)


def in_crop(verts: Tensor, poses: Tensor, window: Tensor) -> Tensor:
    """Vertices [M,V,3] of the object frame, posed [M,POSE], in NDC of the crops ``window`` [M,4]; z is the depth."""
    assert poses.shape[1] == POSE
    turned = verts @ poses[:, :9].view(-1, 3, 3).transpose(1, 2)
    depth = poses[:, DISTANCE, None] + turned[..., 2]
    near = poses[:, DISTANCE, None] / depth
    wide = poses[:, SCALE] * poses[:, ASPECT]
    x = poses[:, CX, None] + near * ((poses[:, U] - poses[:, CX])[:, None] + wide[:, None] * turned[..., 0])
    y = poses[:, CY, None] + near * ((poses[:, V] - poses[:, CY])[:, None] + poses[:, SCALE, None] * turned[..., 1])
    side = (window[:, 2] - window[:, 0])[:, None]
    return torch.stack([1 - 2 * (x - window[:, :1]) / side, 1 - 2 * (y - window[:, 1:2]) / side, depth], dim=-1)


def _rotations(vectors: Tensor) -> Tensor:
    """Rotation matrices [M,3,3] of rotation vectors [M,3]."""
    x, y, z = vectors.unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    return torch.linalg.matrix_exp(cross)
