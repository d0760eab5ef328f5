"""Colours of a composed scene: varied light, ground, background, contact shadows and sensor noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.scenes.layout import Camera, PlacedObject

Colors = NDArray[np.float32]


def paint(mesh: Mesh, rng: np.random.Generator) -> Colors:
    """[F,3] float32 in 0..1: the mesh's own colours, or one random colour that keeps its contrasts."""
    own = mesh.colors.astype(np.float32) / 255
    if rng.random() < 0.4:
        return np.clip(own * np.float32(rng.uniform(0.7, 1.3)), 0.02, 1)
    base = rng.uniform(0.08, 0.95, 3).astype(np.float32)
    grey = own.mean(axis=1, keepdims=True)
    contrast = np.float32(rng.uniform(0.2, 0.8))
    return np.clip(base * (1 + contrast * (grey - grey.mean()) * 2), 0.02, 1)


def normals(verts: NDArray[np.float32], faces: NDArray[np.int32]) -> Colors:
    """Unit normals of the faces [F,3] float32; zero for faces without an area."""
    corners = verts[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-12)


def smooth_noise(size: int, cells: int, rng: np.random.Generator, rows: slice = slice(None)) -> Colors:
    """[size,size], or some rows of it, float32 in about -1..1: random values on a grid, bilinearly interpolated."""
    grid = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    place = np.linspace(0, cells, size, endpoint=False, dtype=np.float32)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells + 1, dtype=np.float32)))
    return weights[rows] @ grid @ weights.T


def background(
    camera: Camera, objects: Sequence[PlacedObject], rng: np.random.Generator, rows: slice = slice(None)
) -> Colors:
    """Ground and sky, [S,S,3], or some ``rows`` of it, float32 in 0..1, with soft shadows under the objects."""
    size = camera.size
    centres = (np.arange(size, dtype=np.float32) + 0.5 - size / 2) / np.float32(camera.focal)
    down = centres[rows]
    sine, cosine = np.float32(np.sin(camera.elevation)), np.float32(np.cos(camera.elevation))
    fall = cosine * down + sine  # downward slope of each image row's rays per unit of depth
    image = np.empty((len(down), size, 3), np.float32)
    low, high = _muted(rng), _muted(rng)
    image[:] = low + (high - low) * np.linspace(0, 1, len(down), dtype=np.float32)[:, None, None]

    below = np.nonzero(fall > 0.02)[0]
    if len(below):
        depth = np.float32(camera.position[1]) / fall[below, None]
        x = np.float32(camera.position[0]) + depth * centres[None]
        z = np.float32(camera.position[2]) - depth * (cosine - sine * down[below, None]) + 0 * x
        ground = _muted(rng)
        shade = _ground_pattern(x, z, rng) * _contact_shadows(x, z, objects)
        fade = np.clip(fall[below] / 0.12, 0, 1)[:, None, None]
        image[below] += fade * (ground * shade[..., None] - image[below])
    image += smooth_noise(size, int(rng.integers(3, 24)), rng, rows)[..., None] * np.float32(rng.uniform(0, 0.12))
    return image


def _muted(rng: np.random.Generator) -> Colors:
    """A random colour [3], half way to its own grey."""
    color = rng.uniform(0.1, 1, 3).astype(np.float32)
    return color + np.float32(rng.uniform(0.2, 0.9)) * (color.mean() - color)


def _ground_pattern(x: Colors, z: Colors, rng: np.random.Generator) -> Colors:
    scale, turn = rng.uniform(2, 9), rng.uniform(0, np.pi)
    u = (x * np.float32(np.cos(turn)) + z * np.float32(np.sin(turn))) * np.float32(scale)
    contrast = np.float32(rng.uniform(0.05, 0.35))
    kind = rng.integers(4)
    if kind == 0:
        return np.ones_like(u)
    if kind == 1:
        return 1 - contrast * (np.floor(u) % 2)
    v = (z * np.float32(np.cos(turn)) - x * np.float32(np.sin(turn))) * np.float32(scale)
    if kind == 2:
        return 1 - contrast * ((np.floor(u) + np.floor(v)) % 2)
    waves: Colors = np.sin(u) * np.sin(v)
    return 1 - contrast * (np.float32(0.5) + np.float32(0.5) * waves)


def _contact_shadows(x: Colors, z: Colors, objects: Sequence[PlacedObject]) -> Colors:
    light = np.ones_like(x)
    for placed in objects:
        low, high = placed.low, placed.high
        across = (x - (low[0] + high[0]) / 2) / (0.6 * (high[0] - low[0]) + 0.05)
        away = (z - (low[2] + high[2]) / 2) / (0.6 * (high[2] - low[2]) + 0.05)
        light *= 1 - 0.55 * np.clip(1.3 - across**2 - away**2, 0, 1)
    return light


def shade(
    image: Colors, hit: NDArray[np.bool_], face: NDArray[np.int32], placed: PlacedObject, paint: Colors, light: Light
) -> None:
    """Draw the visible pixels ``hit`` [S,S] of an object into ``image`` in place: flat shading, both sides lit."""
    lit = light.on(normals(placed.verts, placed.mesh.faces))
    image[hit] = (paint * lit)[face[hit]]


class Light:
    """One directional light and an ambient term, both coloured; the light's direction is a unit vector in the world."""

    def __init__(self, rng: np.random.Generator) -> None:
        direction = np.array([rng.uniform(-1, 1), rng.uniform(0.3, 1.2), rng.uniform(-0.3, 1)])
        self.direction = (direction / np.linalg.norm(direction)).astype(np.float32)
        self.ambient = rng.uniform(0.25, 0.55, 3).astype(np.float32)
        self.color = (rng.uniform(0.5, 0.9) * (1 + rng.uniform(-0.1, 0.1, 3))).astype(np.float32)

    def on(self, normal: Colors) -> Colors:
        """Light on faces of unit normal [F,3], as [F,3] float32 factors."""
        return self.ambient + self.color * np.abs(normal @ self.direction)[:, None]


def expose(image: Colors, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, gamma and sensor noise; [S,S,3] float32 to uint8."""
    image = np.clip(image * np.float32(rng.uniform(0.8, 1.15)), 0, 1) ** np.float32(rng.uniform(0.8, 1.2))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image = image + noise * np.float32(rng.uniform(0, 0.03))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
