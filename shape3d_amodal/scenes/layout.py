"""Placement of the objects of a composed scene, and its camera.

World frame: right-handed, x right, y up, z towards the viewer; the ground is y = 0. The camera looks down -z, pitched
down by its elevation; it has no roll.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal.meshes.mesh import Mesh

NEAREST_DEPTH = 0.3
"""Least depth of any vertex (world units; an object's diagonal is about 1)."""
Deform = Annotated[float, Field(ge=0, le=2)]
"""Strength of ``deform``; beyond 2 it would turn parts of a mesh inside out."""


@dataclass(frozen=True)
class Camera:
    """A perspective camera without roll.

    Attributes:
        position: [3] float64, world.
        elevation: radians, downward pitch.
        focal: focal length in pixels.
        size: side of the square image in pixels; the principal point is its centre.
    """

    position: NDArray[np.float64]
    elevation: float
    focal: float
    size: int

    @property
    def rotation(self) -> NDArray[np.float64]:
        """[3,3]; its rows are the camera's right, down and forward axes in the world."""
        sine, cosine = np.sin(self.elevation), np.cos(self.elevation)
        return np.array([[1.0, 0.0, 0.0], [0.0, -cosine, sine], [0.0, -sine, -cosine]])

    def project(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """World points [V,3] to (x px, y px, depth) [V,3] float32."""
        x, y, depth = ((points - self.position.astype(np.float32)) @ self.rotation.T.astype(np.float32)).T
        scale = np.float32(self.focal) / depth
        return np.stack([self.size / 2 + x * scale, self.size / 2 + y * scale, depth], axis=1)

    def to_dict(self) -> dict[str, float]:
        position = {f"position_{axis}": float(value) for axis, value in zip("xyz", self.position, strict=True)}
        return {**position, "elevation_deg": float(np.degrees(self.elevation)), "focal_px": float(self.focal)}


@dataclass(frozen=True)
class PlacedObject:
    """A mesh standing in the world: ``verts`` [V,3] float32 are world coordinates."""

    mesh: Mesh
    verts: NDArray[np.float32]
    yaw: float

    @cached_property
    def low(self) -> NDArray[np.float32]:
        return self.verts.min(axis=0)

    @cached_property
    def high(self) -> NDArray[np.float32]:
        return self.verts.max(axis=0)

    def viewpoint(self, camera: Camera) -> dict[str, float]:
        """Direction from the middle of the object's box to the camera: azimuth_deg in 0..360, elevation_deg."""
        x, y, z = camera.position - (self.low + self.high) / 2
        azimuth = np.degrees(np.arctan2(x, z) - self.yaw) % 360
        return {"azimuth_deg": float(azimuth), "elevation_deg": float(np.degrees(np.arctan2(y, np.hypot(x, z))))}

    def moved(self, x: float, z: float) -> PlacedObject:
        return PlacedObject(self.mesh, self.verts + np.array([x, 0, z], np.float32), self.yaw)

    def apart_from(self, other: PlacedObject, gap: float) -> bool:
        """Whether a vertical plane along x or z separates the two by more than ``gap``: then they cannot intersect."""
        low, high, other_low, other_high = self.low, self.high, other.low, other.high
        return any(low[i] > other_high[i] + gap or other_low[i] > high[i] + gap for i in (0, 2))


def stand(mesh: Mesh, verts: NDArray[np.float32], size: float, yaw: float) -> PlacedObject:
    """Scale ``verts`` (object frame) by ``size``, turn them by ``yaw`` (radians) about y, set them on the ground."""
    sine, cosine = np.sin(yaw), np.cos(yaw)
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], np.float32)
    world = ((verts * np.float32(size)) @ turn.T).astype(np.float32, copy=False)
    world[:, 1] -= world[:, 1].min()
    return PlacedObject(mesh, world, yaw)


def look_at_target(target: PlacedObject, size: int, rng: np.random.Generator) -> Camera:
    """A random camera with ``target`` near the middle, its diagonal covering 35 to 65 % of the image's side."""
    elevation = np.radians(rng.uniform(4, 35))
    field_of_view = np.radians(rng.uniform(28, 50))
    focal = size / 2 / np.tan(field_of_view / 2)
    diagonal = float(np.linalg.norm(target.high - target.low))
    distance = focal * diagonal / (size * rng.uniform(0.35, 0.65))
    centre = (target.low + target.high).astype(np.float64) / 2
    centre += rng.uniform(-0.25, 0.25, 3) * diagonal * np.array([1.0, 0.5, 0.0])
    forward = np.array([0.0, -np.sin(elevation), -np.cos(elevation)])
    position = centre - distance * forward
    position[1] = max(position[1], 0.05)
    return Camera(position, float(elevation), float(focal), size)


def place_in_front(target: PlacedObject, thing: PlacedObject, camera: Camera, rng: np.random.Generator) -> PlacedObject:
    """Move ``thing`` between target and camera, sideways so that the two overlap in the image at least in part."""
    gap = rng.uniform(0.02, 0.35)
    z = float(target.high[2] - thing.low[2] + gap)
    # ``sight``: x of the ray from the camera through the target's middle, at the depth of the thing.
    middle = float(target.low[0] + target.high[0]) / 2
    nearer = (camera.position[2] - z) / max(camera.position[2] - float(target.low[2] + target.high[2]) / 2, 1e-3)
    sight = camera.position[0] + (middle - camera.position[0]) * nearer
    reach = 0.5 * float((thing.high - thing.low)[0] + (target.high - target.low)[0] * nearer)
    return thing.moved(sight + rng.uniform(-1, 1) * reach, z)


def place_around(target: PlacedObject, thing: PlacedObject, camera: Camera, rng: np.random.Generator) -> PlacedObject:
    """Move ``thing`` to a random place beside, behind or in front of the target."""
    side = rng.integers(3)
    if side == 0:
        return place_in_front(target, thing, camera, rng)
    extent = float(np.linalg.norm((target.high - target.low)[[0, 2]]))
    if side == 1:
        z = float(target.low[2] - thing.high[2]) - rng.uniform(0.02, 0.8)
        return thing.moved(rng.uniform(-1, 1) * extent, z)
    x = float(target.high[0] - thing.low[0]) + rng.uniform(0.02, 0.3)
    if rng.random() < 0.5:
        x = float(target.low[0] - thing.high[0]) - rng.uniform(0.02, 0.3)
    return thing.moved(x, rng.uniform(-0.5, 0.5) * extent)


def deform(verts: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Shape augmentation: anisotropic scale, taper, bend and part stretch; keeps the mirror plane x = 0.

    Args:
        verts: [V,3] float32 object frame.
        strength: 0 leaves the mesh as it is, 1 scales axes by up to about 1.5.
        rng: generator.

    Returns:
        [V,3] float32, centred, with the bounding box's diagonal 1 again.
    """
    if strength <= 0:
        return verts
    result = verts.copy()
    axis, along = rng.permutation(3)[:2]
    # Part stretch: one half of an axis grows or shrinks, smoothly from the middle.
    side = np.maximum(result[:, axis] * rng.choice([-1, 1]), 0) if axis else np.abs(result[:, 0])
    result[:, axis] += np.sign(result[:, axis]) * side * np.float32(strength * rng.uniform(-0.35, 0.5))
    # Taper: the cross-section changes along an axis.
    slope = np.float32(strength * rng.uniform(-0.5, 0.5))
    height = result[:, along].copy() if along else np.abs(result[:, 0])
    for other in range(3):
        if other != along:
            result[:, other] *= 1 + slope * height
    # Bend: y or z is displaced by a parabola of z or y.
    source, moved = (1, 2) if rng.random() < 0.5 else (2, 1)
    result[:, moved] += np.float32(strength * rng.uniform(-0.25, 0.25)) * result[:, source] ** 2
    result *= np.exp(strength * rng.uniform(-0.4, 0.4, 3)).astype(np.float32)
    low, high = result.min(axis=0), result.max(axis=0)
    return ((result - (low + high) / 2) / np.linalg.norm(high - low)).astype(np.float32)
