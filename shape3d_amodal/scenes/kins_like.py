"""Streets in the format of KINS 2020: a test bed for what reads KINS, trains on it or is measured on it.

Pictures have KITTI's size and camera, about 12 vehicles near and far, in clusters with orders; vehicles are truncated
by the left and right border and cut by poles and leaves that no annotation has (``scenes.street``). What KINS has and
this has not: people, riders and cyclists (no such meshes come with the package), buildings, people's errors in masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from shape3d_amodal.annotations.formats.kins import CLASSES, write_kins2020
from shape3d_amodal.config import Count, configuration
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.meshes.mesh import FileMeshes
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes.compose import MeshPicker, Scene, SceneConfig
from shape3d_amodal.scenes.layout import Deform, PlacedObject, deform, stand
from shape3d_amodal.scenes.sets import write_images
from shape3d_amodal.scenes.street import Street, make_street
from shape3d_amodal.structures import AmodalDataset

VEHICLES = {
    **{name: name for name in ("car", "tram", "truck", "van", "misc")},
    "train": "tram",
    "bus": "misc",
    "airplane": "misc",
    "vessel": "misc",
    "watercraft": "misc",
}
"""Mesh category -> KINS class; misc is KITTI's name for other vehicles."""
SHARES = {"car": 0.65, "tram": 0.03, "truck": 0.07, "van": 0.13, "misc": 0.12}
"""How often each class is drawn, about as in KINS; shares of classes that the meshes lack go to the others."""
DIAGONALS = {"car": 4.9, "tram": 16.0, "truck": 9.0, "van": 5.6, "misc": 7.0}
"""Diagonal of a vehicle's box in metres."""
_VAN = np.array([1.05, 1.4, 1.0], np.float32)
"""A car stretched like this stands for a van where the meshes have none."""
_PURPOSE = 1_002
ANNOTATIONS = "update_train_2020.json"


@configuration
class KinsScenesConfig:
    """Streets in the format of KINS 2020."""

    meshes: str = "open13:train"
    """Mesh source; only its vehicles are used. Without vans, some cars are stretched and stand for them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the pictures; picture k depends on the options, the seed and k alone."""
    count: Count = 100
    """Number of pictures."""
    height: Annotated[int, Field(ge=32, le=4096)] = 375
    """Height of the pictures in pixels; 375 is KITTI's."""
    width: Annotated[int, Field(ge=32, le=8192)] = 1242
    """Width of the pictures in pixels; 1242 is KITTI's. The focal length grows with it."""
    objects: Annotated[int, Field(ge=2, le=100)] = 12
    """Mean number of vehicles that are tried in a picture; half as many to one and a half times as many."""
    nearest: Annotated[float, Field(gt=1)] = 6.0
    """Least distance of a vehicle in metres. Distances are log-uniform, so that far and small ones are many."""
    farthest: Annotated[float, Field(le=500)] = 70.0
    """Largest distance of a vehicle in metres, but for those that queue behind another one."""
    clutter: Annotated[int, Field(ge=0, le=100)] = 3
    """Mean number of poles, trees, bushes and branches: they hide vehicles, and no annotation has them."""
    deform: Deform = 0.3
    """Largest strength of the random deformation of each mesh (0: none)."""
    strict: bool = False
    """Stop at a mesh that cannot be used, instead of drawing another one and listing it."""

    def __post_init__(self) -> None:
        if self.nearest >= self.farthest:
            raise UsageError(f"farthest: expected more than nearest ({self.nearest}), got {self.farthest}")


def write_kins_scenes(config: KinsScenesConfig, folder: Path) -> AmodalDataset:
    """Write ``images/*.png``, ``meshes.json`` and, last, ``update_train_2020.json``; returns the annotations.

    Raises:
        DataError: the mesh source cannot be used or has no vehicles.
    """
    meshes = mesh_source(config.meshes, strict=config.strict).only(VEHICLES)
    if not meshes.names:
        raise DataError(f"expected vehicles ({', '.join(VEHICLES)}), found none", file=config.meshes)
    frames = (make_frame(meshes, config, index) for index in range(config.count))
    dataset = write_images(folder, frames, config.count, CLASSES)
    write_json_atomic(folder / "meshes.json", meshes.manifest())
    write_kins2020(folder / ANNOTATIONS, dataset)
    return dataset


def make_frame(meshes: FileMeshes, config: KinsScenesConfig, index: int) -> Scene:
    """Picture ``index``; its instances have classes of KINS."""
    rng = np.random.default_rng((config.seed, _PURPOSE, index))
    street = Street(config.height, config.width, config.objects, config.clutter, config.nearest, config.farthest)
    return make_street(_VehiclePicker(meshes, config.deform, rng), street, rng)


class _VehiclePicker:
    """Draws a class, a mesh of it, and how it is turned; see ``street.Picker``."""

    def __init__(self, meshes: FileMeshes, strength: float, rng: np.random.Generator) -> None:
        self._meshes = MeshPicker(meshes, SceneConfig(), rng)
        self._deform, self._rng = strength, rng
        self._members: dict[str, list[str]] = {}
        for category in sorted({meshes.category(name) for name in meshes.names}):
            self._members.setdefault(VEHICLES[category], []).append(category)
        self._stretched = "van" not in self._members and "car" in self._members
        if self._stretched:
            self._members["van"] = self._members["car"]
        shares = np.array([SHARES[name] for name in self._members])
        self._shares = shares / shares.sum()

    def __call__(self) -> tuple[str, PlacedObject]:
        rng = self._rng
        name = str(rng.choice(list(self._members), p=self._shares))
        mesh = self._meshes.mesh(str(rng.choice(self._members[name])))
        verts = deform(mesh.verts, self._deform * rng.random(), rng)
        if name == "van" and self._stretched:
            verts = verts * _VAN
        yaw = rng.choice([0, np.pi]) + rng.normal(0, 0.12)  # along the street: towards the camera, or away
        if rng.random() < 0.35:
            yaw = rng.uniform(0, 2 * np.pi)
        return name, stand(mesh, verts, size=DIAGONALS[name] * rng.uniform(0.9, 1.15), yaw=float(yaw))
