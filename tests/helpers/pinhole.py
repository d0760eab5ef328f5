"""A pinhole camera by the book, x = K (R X + t), that shares no code with the poses of a shape bank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from shape3d_amodal.crops.pixels import PixelWindow, pixel_window
from shape3d_amodal.geometry.windows import instance_window
from shape3d_amodal.meshes.mesh import Mesh
from shape3d_amodal.rendering.zbuffer import rasterize
from shape3d_amodal.structures import Intrinsics


@dataclass(frozen=True)
class View:
    """A camera of ``height`` x ``width`` pixels before an object; the camera's frame is x right, y down, z forward."""

    rotation: np.ndarray
    translation: tuple[float, float, float]
    camera: Intrinsics
    height: int
    width: int

    def screen(self, verts: np.ndarray) -> np.ndarray:
        """Columns and rows in pixels, and depths, [V,3] float64."""
        x, y, z = (verts.astype(np.float64) @ self.rotation.T + np.array(self.translation)).T
        fx, fy, cx, cy = self.camera
        return np.stack([fx * x / z + cx, fy * y / z + cy, z], axis=1)

    def mask(self, mesh: Mesh) -> np.ndarray:
        """The mesh's whole mask [H,W] bool, by the z-buffer."""
        screen = self.screen(mesh.verts).astype(np.float32)
        return rasterize(screen, mesh.faces, self.height, self.width)[1] >= 0

    @property
    def row(self) -> np.ndarray:
        """The pose [16] float32 of a shape bank, by the definition of its numbers."""
        (x, y, z), (fx, fy, cx, cy) = self.translation, self.camera
        place = (fx * x / z + cx, fy * y / z + cy)
        numbers = (*self.rotation.ravel(), fy / z, *place, z, cx, cy, fx / fy)
        return np.array(numbers, np.float32)


def turned(azimuth: float, elevation: float, roll: float = 0.0) -> np.ndarray:
    """R [3,3] for a camera that stands at these degrees from the object's front; ``roll`` turns the image clockwise."""
    front = np.diag([1.0, -1.0, -1.0])  # right is the object's +x, down its -y, forward its -z
    about = Rotation.from_euler("z", roll, degrees=True) * Rotation.from_euler("x", elevation, degrees=True)
    return about.as_matrix() @ front @ Rotation.from_euler("y", -azimuth, degrees=True).as_matrix()


def view(
    azimuth: float = 30,
    elevation: float = 15,
    roll: float = 0,
    *,
    distance: float = 3.3,
    place: tuple[float, float] = (0.0, 0.0),
    pixels: float = 60,
    height: int = 120,
    width: int = 160,
    aspect: float = 1.0,
) -> View:
    """A view of an object of diagonal 1 that is about ``pixels`` high; ``place``: x and y of its middle, in units of
    its distance."""
    camera = (aspect * pixels * distance, pixels * distance, width / 2, height / 2)
    translation = (place[0] * distance, place[1] * distance, distance)
    return View(turned(azimuth, elevation, roll), translation, camera, height, width)


def window_of(visible: np.ndarray, occluder: np.ndarray, camera: Intrinsics | None = None) -> PixelWindow:
    """The window around an object, as the pipeline chooses it."""
    return pixel_window(visible, occluder, instance_window(visible, occluder), camera)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))
