"""Reconstructed meshes: drawn over the image they were found in, turning round, and as files for 3D viewers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shape3d_amodal.crops.given import given_image
from shape3d_amodal.crops.pasting import CompletedObject
from shape3d_amodal.drawing.colors import BLUE
from shape3d_amodal.drawing.overlays import Image
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.geometry import cameras
from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.structures import Viewpoint

_SAMPLES = 3  # along each side of a pixel
_LIGHT = np.array([0.45, 0.65, -0.61], np.float32)
"""Direction to the light in the view frame (x left, y up, z into the scene): over the viewer's left shoulder."""
_AMBIENT = 0.35


def view_of(azimuth_deg: float, elevation_deg: float, *, scale: float = 1.0) -> dict[str, float | list[float]]:
    """A viewpoint as the results format writes it, upright and without a shift."""
    angles = {"azimuth_deg": azimuth_deg, "elevation_deg": elevation_deg, "roll_deg": 0.0}
    return {**angles, "scale": scale, "offset": [0.0, 0.0]}


def to_screen(
    verts: NDArray[np.float32], viewpoint: Mapping[str, Any], window: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Project a mesh into image pixels.

    Args:
        verts: [V,3] float32, object frame.
        viewpoint: azimuth_deg, elevation_deg, roll_deg, scale, and offset in crop NDC.
        window: [4] float32, (x0, y0, x1, y1) of the square crop in image pixels.

    Returns:
        [V,3] float32: x (right) and y (down) in image pixels, and the depth along the viewing axis.
    """
    flat = cameras.project(torch.from_numpy(np.asarray(verts, np.float32))[None], _camera(viewpoint))[0].numpy()
    x0, y0, x1, _ = (float(value) for value in window)
    half = (x1 - x0) / 2
    # Crop NDC points left and up, pixels right and down.
    return np.stack([x0 + (1 - flat[:, 0]) * half, y0 + (1 - flat[:, 1]) * half, flat[:, 2]], axis=1)


def render_mesh(
    verts: NDArray[np.float32],
    faces: NDArray[np.int64],
    viewpoint: Mapping[str, Any],
    window: NDArray[np.float32],
    height: int,
    width: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Flat-shaded image of a mesh (Lambert's law, one light beside the viewer, both sides lit).

    Args:
        verts, viewpoint, window: see ``to_screen``.
        faces: [F,3] int.
        height, width: size of the image in pixels.

    Returns:
        shaded: [H,W,3] float32 in 0..255, 0 where nothing was hit.
        coverage: [H,W] float32 in 0..1, share of each pixel that the mesh covers.
    """
    screen = to_screen(verts, viewpoint, window) * np.array([_SAMPLES, _SAMPLES, 1], np.float32)
    _, face = rasterize(screen, faces.astype(np.int32), height * _SAMPLES, width * _SAMPLES)
    hit = (face >= 0).astype(np.float32)
    shades = _shades(verts, faces, viewpoint)
    coverage, light = _pool(hit), _pool(hit * shades[face])
    lit = light / np.maximum(coverage, 1e-6)
    # Faces that look into the light turn towards white, so that blue does not look flat.
    shaded = lit[..., None] * np.array(BLUE, np.float32) + (60 * lit**4)[..., None] * (coverage > 0)[..., None]
    return np.clip(shaded, 0, 255).astype(np.float32), coverage


def mesh_over_image(
    image: Image,
    verts: NDArray[np.float32],
    faces: NDArray[np.int64],
    viewpoint: Mapping[str, Any],
    window: NDArray[np.float32],
    *,
    opacity: float = 0.85,
) -> Image:
    """A shaded mesh over the image [H,W,3] uint8 that it was reconstructed from; see ``render_mesh``.

    Without faces, as where no prior was asked, it is the image alone, and ``viewpoint`` may be empty.
    """
    image = given_image(image)
    if not len(faces):
        return image.copy()
    shaded, coverage = render_mesh(verts, faces, viewpoint, window, image.shape[0], image.shape[1])
    share = (coverage * np.float32(opacity))[..., None]
    return (image * (1 - share) + shaded * share + 0.5).astype(np.uint8)


def turntable(
    verts: NDArray[np.float32],
    faces: NDArray[np.int64],
    *,
    views: int = 8,
    size: int = 160,
    elevation_deg: float = 20.0,
) -> Image:
    """A strip [size,views*size,3] uint8: the mesh from azimuth 0 (its front) in equal steps once round, left to right.

    Args:
        verts: [V,3] float32, object frame; shown so large that it fills the views from every side, on white.
        faces: [F,3] int.

    Raises:
        UsageError: a mesh without faces.
    """
    _check_mesh(verts, faces)
    radius = float(np.linalg.norm(verts, axis=1).max())
    # The image of a sphere of this radius around the origin has this radius in NDC at scale 1.
    extent = cameras.FOCAL * radius / float(np.sqrt(max(cameras.DISTANCE**2 - radius**2, 1e-6)))
    window = np.array([0, 0, size, size], np.float32)
    empty = np.full((size, size, 3), 255, np.uint8)
    steps = (view_of(360 * number / views, elevation_deg, scale=0.95 / extent) for number in range(views))
    return np.concatenate([mesh_over_image(empty, verts, faces, one, window, opacity=1) for one in steps], axis=1)


def write_glb(path: str | Path, verts: NDArray[np.float32], faces: NDArray[np.int64], *, name: str = "object") -> None:
    """Write one mesh as binary glTF; its folder must exist.

    Args:
        verts: [V,3] float32, object frame (y up, front +z, as in glTF). Stored to the bit, in their order.
        faces: [F,3] int.
        name: of the mesh in the file.

    Raises:
        DataError: the file cannot be written.
        UsageError: a mesh without faces, which no viewer opens.
    """
    _check_mesh(verts, faces)
    import trimesh

    scene = trimesh.Scene()
    scene.add_geometry(_colored(verts, faces), node_name=name, geom_name=name)
    write_atomic(path, scene.export(file_type="glb"))


def write_scene_glb(path: str | Path, objects: Sequence[CompletedObject]) -> None:
    """Write objects as they stand before the camera as one binary glTF; its folder must exist.

    The camera stands at the origin, y points up and it looks along -z, as cameras of glTF do. Lengths are in the unit
    of the objects' files.

    Args:
        objects: one or more, each with ``to_camera``.

    Raises:
        DataError: the file cannot be written.
        UsageError: an object whose place is not known.
    """
    import trimesh

    scene = trimesh.Scene()
    for number, one in enumerate(objects, start=1):
        if one.to_camera is None:
            raise UsageError(f"objects: expected the place of each, that of number {number} is not known")
        place = np.diag([1.0, -1.0, -1.0, 1.0]) @ one.to_camera
        name = f"{number}_{one.category}"
        scene.add_geometry(_colored(one.verts, one.faces), node_name=name, geom_name=name, transform=place)
    write_atomic(path, scene.export(file_type="glb"))


def _colored(verts: NDArray[np.float32], faces: NDArray[np.int64]) -> Any:
    """A mesh with the colour of all of ours."""
    import trimesh

    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[*BLUE, 255], metallicFactor=0.0, roughnessFactor=0.8, doubleSided=True
    )
    mesh = trimesh.Trimesh(np.asarray(verts), np.asarray(faces), process=False)
    mesh.visual = trimesh.visual.TextureVisuals(material=material)
    return mesh


def _check_mesh(verts: NDArray[np.float32], faces: NDArray[np.int64]) -> None:
    if not (len(verts) and len(faces)):
        came = f"got {len(verts)} vertices and {len(faces)} faces"
        raise UsageError(f"mesh: expected vertices and faces, {came}; refine 2d makes no meshes")


def _camera(viewpoint: Mapping[str, Any]) -> Viewpoint:
    keys = ("azimuth_deg", "elevation_deg", "roll_deg", "scale", "offset")
    azimuth, elevation, roll, scale, offset = (torch.tensor([viewpoint[key]], dtype=torch.float32) for key in keys)
    return Viewpoint(azimuth.deg2rad(), elevation.deg2rad(), roll.deg2rad(), scale, offset)


def _shades(verts: NDArray[np.float32], faces: NDArray[np.int64], viewpoint: Mapping[str, Any]) -> NDArray[np.float32]:
    """Brightness [F] in 0..1 of the faces as the viewer sees them."""
    camera = _camera(viewpoint)
    turn = cameras.rotation(camera.azimuth, camera.elevation, camera.roll)[0].numpy()
    corners = (np.asarray(verts, np.float32) @ turn.T)[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # Either side may be the outside: the visible one looks at the viewer.
    towards = corners.mean(axis=1) + np.array([0, 0, cameras.DISTANCE], np.float32)
    facing = -np.sign((normal * towards).sum(axis=1))
    cosine = facing * (normal @ _LIGHT) / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    return (_AMBIENT + (1 - _AMBIENT) * np.maximum(cosine, 0)).astype(np.float32)


def _pool(fine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the samples of each pixel."""
    height, width = fine.shape[0] // _SAMPLES, fine.shape[1] // _SAMPLES
    return fine.reshape(height, _SAMPLES, width, _SAMPLES).mean(axis=(1, 3))
