"""Stage 2 without training: a bank of known shapes, each with its silhouettes over the viewpoints.

Any mesh source serves: open13's training meshes, ShapeNet, a user's own CAD folder. A bank has the legs and holes that
a deformed sphere cannot have, and it knows the shapes that it was given, and no others.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.config import configuration
from shape3d_amodal.errors import DataError
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.meshes.mesh import MeshSource
from shape3d_amodal.meshes.simplify import reduce_faces
from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.structures import Viewpoint

log = logging.getLogger(__name__)

FRAME = 48
"""Side in pixels of the frame that every silhouette's bounding box is stretched to."""


@configuration
class BankConfig:
    """Which silhouettes a bank holds."""

    azimuths: int = 16
    """Azimuths, evenly over the full circle."""
    elevations_deg: tuple[float, ...] = (8.0, 20.0, 32.0)
    """Elevations of the camera, in degrees."""
    faces: Annotated[int, Field(ge=4)] = 1500
    """Meshes of more faces are simplified for the fit to about this many."""
    meshes: int = 64
    """Meshes of a category, at most; of more, an even selection in the source's order is taken."""


@dataclass(frozen=True, eq=False, repr=False)
class BankShapes(ArrayFields):
    """The shapes of one category, M meshes seen from T / M viewpoints each.

    Attributes:
        names: the meshes' names in their source.
        meshes: their vertices [V,3] float32, object frame, and faces [F,3] int64, simplified.
        mesh: [T] int64, which mesh a silhouette is of.
        azimuth, elevation: [T] float32, radians.
        low, high: [T,2] float32, corners of the silhouette's bounding box in NDC at scale 1 and shift 0.
        integral: [T,FRAME+1,FRAME+1] uint16, integral image of the silhouette stretched to FRAME x FRAME pixels; the
            first row is the image's uppermost, the first column its leftmost.
    """

    names: tuple[str, ...]
    meshes: tuple[tuple[NDArray[np.float32], NDArray[np.int64]], ...]
    mesh: NDArray[np.int64]
    azimuth: NDArray[np.float32]
    elevation: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    integral: NDArray[np.uint16]


class ShapeBank:
    """Known shapes by category; a category's silhouettes are drawn when it is first asked for."""

    def __init__(self, source: MeshSource, config: BankConfig | None = None) -> None:
        self.config = config or BankConfig()
        self._source = source
        self._names: dict[str, list[str]] = {}
        for name in source.names:
            self._names.setdefault(source.category(name), []).append(name)
        self._shapes: dict[str, BankShapes] = {}

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(sorted(self._names))

    def shapes(self, category: str) -> BankShapes:
        """The shapes of ``category``.

        Raises:
            DataError: the source has no mesh of it, or a mesh cannot be read.
        """
        if category not in self._shapes:
            if category not in self._names:
                raise DataError(f"no mesh of category {category!r}; the bank knows {', '.join(self.categories)}")
            names, most = self._names[category], self.config.meshes
            if len(names) > most:
                log.warning("%s: the bank takes %d of %d meshes", category, most, len(names))
                names = [names[i * len(names) // most] for i in range(most)]
            self._shapes[category] = self._draw(names)
        return self._shapes[category]

    def _draw(self, names: list[str]) -> BankShapes:
        config = self.config
        azimuth = np.tile(np.arange(config.azimuths) * (2 * math.pi / config.azimuths), len(config.elevations_deg))
        elevation = np.radians(np.repeat(config.elevations_deg, config.azimuths))
        loaded = [self._source.load(name) for name in names]
        frames = [silhouette_frames(mesh.verts, mesh.faces, azimuth, elevation) for mesh in loaded]
        masks = np.concatenate([mask for mask, _, _ in frames])
        integral = np.zeros((len(masks), FRAME + 1, FRAME + 1), np.uint16)
        integral[:, 1:, 1:] = masks.cumsum(axis=1, dtype=np.uint16).cumsum(axis=2, dtype=np.uint16)
        return BankShapes(
            names=tuple(names),
            meshes=tuple(reduce_faces(mesh.verts, mesh.faces, config.faces) for mesh in loaded),
            mesh=np.repeat(np.arange(len(names)), len(azimuth)),
            azimuth=np.tile(azimuth, len(names)).astype(np.float32),
            elevation=np.tile(elevation, len(names)).astype(np.float32),
            low=np.concatenate([low for _, low, _ in frames]),
            high=np.concatenate([high for _, _, high in frames]),
            integral=integral,
        )


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
