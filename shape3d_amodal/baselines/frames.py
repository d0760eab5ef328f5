"""The silhouettes of a category's meshes from a ring of viewpoints, each stretched to the same square."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.errors import DataError
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.meshes.mesh import MeshSource
from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.structures import Viewpoint

log = logging.getLogger(__name__)

FRAME = 48
"""Side in pixels of the frame that every silhouette's bounding box is stretched to."""
AZIMUTHS = 16
"""Azimuths, evenly over the full circle."""
ELEVATIONS_DEG = (8.0, 20.0, 32.0)
MOST = 64
"""Meshes of a category, at most; of more, an even selection in the source's order is taken."""


@dataclass(frozen=True, eq=False, repr=False)
class Frames(ArrayFields):
    """T silhouettes: those of one mesh after another, elevation by elevation.

    Attributes:
        mask: [T,FRAME,FRAME] bool; the first row is the uppermost, the first column the leftmost.
        low, high: [T,2] float32, corners of the silhouette's bounding box in NDC at scale 1 and shift 0.
    """

    mask: NDArray[np.bool_]
    low: NDArray[np.float32]
    high: NDArray[np.float32]


def category_frames(
    source: MeshSource, category: str, azimuths: int = AZIMUTHS, elevations_deg: Sequence[float] = ELEVATIONS_DEG
) -> Frames:
    """The frames of the source's meshes of ``category``.

    Raises:
        DataError: the source has no mesh of it, or a mesh cannot be read.
    """
    names = [name for name in source.names if source.category(name) == category]
    if not names:
        known = sorted({source.category(name) for name in source.names})
        raise DataError(f"no mesh of category {category!r}; the meshes are of {', '.join(known)}")
    if len(names) > MOST:
        log.warning("%s: the mean mask takes %d of %d meshes", category, MOST, len(names))
        names = [names[i * len(names) // MOST] for i in range(MOST)]
    azimuth = np.tile(np.arange(azimuths) * (2 * math.pi / azimuths), len(elevations_deg))
    elevation = np.radians(np.repeat(elevations_deg, azimuths))
    meshes = (source.load(name) for name in names)
    drawn = [silhouette_frames(mesh.verts, mesh.faces, azimuth, elevation) for mesh in meshes]
    return Frames(*(np.concatenate(part) for part in zip(*drawn, strict=True)))


def silhouette_frames(
    verts: NDArray[np.float32], faces: NDArray[np.int32], azimuth: NDArray[np.float64], elevation: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """Hard silhouettes of one mesh, each stretched so that its bounding box fills the frame.

    Args:
        verts: [V,3] float32, object frame.
        faces: [F,3] int32.
        azimuth, elevation: [T] radians.

    Returns:
        Masks [T,FRAME,FRAME] bool, and the boxes' lower and upper corners [T,2] float32 in NDC.
    """
    used = verts[np.unique(faces)]
    count = len(azimuth)
    zero = torch.zeros(count)
    view = Viewpoint(
        azimuth=torch.from_numpy(azimuth).float(),
        elevation=torch.from_numpy(elevation).float(),
        roll=zero,
        scale=zero + 1,
        offset=torch.zeros(count, 2),
    )
    projected = project(torch.from_numpy(verts).expand(count, -1, -1), view).numpy()
    box = project(torch.from_numpy(used).expand(count, -1, -1), view).numpy()[..., :2]
    low, high = box.min(axis=1), box.max(axis=1)
    screen = projected.copy()
    screen[..., :2] = (high[:, None] - projected[..., :2]) / np.maximum(high - low, 1e-6)[:, None] * FRAME
    masks = [rasterize(points, faces, FRAME, FRAME)[1] >= 0 for points in screen]
    return np.stack(masks), low, high
