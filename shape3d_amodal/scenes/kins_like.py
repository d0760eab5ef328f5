"""Scenes of vehicles in the form of KINS 2020, for testing what reads KINS: wide frames, clusters, orders in them.

A frame is ``tiles`` square scenes side by side, each a cluster or more of its own, so that it is as wide for its height
and has about as many objects as one of KITTI's. Nothing else is meant to look like a street.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from shape3d_amodal.annotations.formats.kins import write_kins2020
from shape3d_amodal.config import Count, configuration
from shape3d_amodal.errors import DataError
from shape3d_amodal.files.atomic import make_folder, write_atomic, write_json_atomic
from shape3d_amodal.meshes.mesh import MeshSource, RecordedMeshes
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes.compose import Scene, SceneConfig, SceneInstance, make_scene
from shape3d_amodal.scenes.sets import annotate, png_bytes
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Category

CLASSES = ("cyclist", "pedestrian", "rider", "car", "tram", "truck", "van", "misc")
"""KINS 2020's, their ids counted from 1."""
VEHICLES = {
    **{name: name for name in ("car", "tram", "truck", "van", "misc")},
    "train": "tram",
    "bus": "misc",
    "airplane": "misc",
    "vessel": "misc",
    "watercraft": "misc",
}
"""Mesh category -> KINS class; misc is KITTI's name for vehicles that are none of the others."""
ANNOTATIONS = "update_train_2020.json"


@configuration
class KinsScenesConfig:
    """Scenes in the form of KINS 2020."""

    meshes: str = "open13:train"
    """Mesh source; what is no vehicle is left out."""
    scenes: SceneConfig = SceneConfig(image_size=375)
    """How the scenes of a frame are made; 375 is the height of KITTI's frames."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes."""
    count: Count = 100
    """Number of frames."""
    tiles: Annotated[int, Field(ge=1, le=8)] = 3
    """Scenes in a frame, side by side."""
    strict: bool = False
    """Stop at a mesh that cannot be used, instead of drawing another one and listing it."""


def write_kins_scenes(config: KinsScenesConfig, folder: Path) -> AmodalDataset:
    """Write ``images/*.png``, ``meshes.json`` and, last, ``update_train_2020.json``; returns the annotations.

    Raises:
        DataError: the mesh source cannot be used or has no vehicles.
    """
    source = mesh_source(config.meshes, strict=config.strict)
    vehicles = source.only(VEHICLES)
    if not vehicles.names:
        raise DataError(f"expected vehicles ({', '.join(VEHICLES)}), found none", file=config.meshes)
    meshes = RecordedMeshes(vehicles)
    make_folder(folder / "images")
    images = []
    next_id = 1
    for index in range(config.count):
        pixels, image = _frame(config, meshes, index, next_id)
        next_id += len(image.instances)
        write_atomic(folder / "images" / image.file_name, png_bytes(pixels))
        images.append(image)
    categories = tuple(Category(i + 1, name) for i, name in enumerate(CLASSES))
    dataset = AmodalDataset(images=tuple(images), categories=categories)
    write_json_atomic(folder / "meshes.json", meshes.manifest())
    write_kins2020(folder / ANNOTATIONS, dataset)
    return dataset


def _frame(config: KinsScenesConfig, meshes: MeshSource, index: int, first_id: int) -> tuple[np.ndarray, AmodalImage]:
    """Picture [S,T*S,3] uint8 and annotations of a frame; its scenes are T in a row of the seed's."""
    first = index * config.tiles
    scenes = [make_scene(meshes, config.scenes, config.seed, first + tile) for tile in range(config.tiles)]
    scene = _side_by_side(scenes)
    instances = annotate(scene, CLASSES, first_id=first_id, targets_only=False)
    height, width = scene.image.shape[:2]
    name = f"{index:06d}.png"
    return scene.image, AmodalImage(id=index + 1, file_name=name, width=width, height=height, instances=instances)


def _side_by_side(scenes: list[Scene]) -> Scene:
    """One wide scene; the orders of the scenes to the left come first, which says nothing of objects that lie apart."""
    size = scenes[0].image.shape[1]
    instances: list[SceneInstance] = []
    for tile, scene in enumerate(scenes):
        room = ((0, 0), (tile * size, (len(scenes) - 1 - tile) * size))
        nearer = len(instances)
        instances += [
            replace(
                one,
                category=VEHICLES[one.category],
                amodal=np.pad(one.amodal, room),
                visible=np.pad(one.visible, room),
                depth_order=one.depth_order + nearer,
            )
            for one in scene.instances
        ]
    return Scene(np.concatenate([scene.image for scene in scenes], axis=1), tuple(instances), camera={})
