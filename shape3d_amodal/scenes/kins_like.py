"""Scenes of vehicles in the format of KINS 2020, to test code that reads KINS: wide frames with clusters and orders.

A frame is ``tiles`` square scenes side by side, each with one or more clusters, so that its aspect ratio and its number
of objects are about those of KITTI's frames. Nothing else is meant to look like a street.
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
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.meshes.sources import mesh_source
from shape3d_amodal.scenes.compose import Scene, SceneConfig, SceneInstance, make_scene
from shape3d_amodal.scenes.sets import write_images
from shape3d_amodal.structures import AmodalDataset

CLASSES = ("cyclist", "pedestrian", "rider", "car", "tram", "truck", "van", "misc")
"""The classes of KINS 2020, in the order of their ids from 1."""
VEHICLES = {
    **{name: name for name in ("car", "tram", "truck", "van", "misc")},
    "train": "tram",
    "bus": "misc",
    "airplane": "misc",
    "vessel": "misc",
    "watercraft": "misc",
}
"""Mesh category -> KINS class; misc is KITTI's name for other vehicles."""
ANNOTATIONS = "update_train_2020.json"


@configuration
class KinsScenesConfig:
    """Scenes in the format of KINS 2020."""

    meshes: str = "open13:train"
    """Mesh source; only its vehicles are used."""
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
    meshes = mesh_source(config.meshes, strict=config.strict).only(VEHICLES)
    if not meshes.names:
        raise DataError(f"expected vehicles ({', '.join(VEHICLES)}), found none", file=config.meshes)
    tiles = config.tiles
    frames = (
        _side_by_side([make_scene(meshes, config.scenes, config.seed, first + tile) for tile in range(tiles)])
        for first in range(0, tiles * config.count, tiles)
    )
    dataset = write_images(folder, frames, config.count, CLASSES)
    write_json_atomic(folder / "meshes.json", meshes.manifest())
    write_kins2020(folder / ANNOTATIONS, dataset)
    return dataset


def _side_by_side(scenes: list[Scene]) -> Scene:
    """One wide scene. Objects count as nearer than those of scenes further right, which they do not overlap."""
    size = scenes[0].image.shape[1]
    instances: list[SceneInstance] = []
    for tile, scene in enumerate(scenes):
        room = ((0, 0), (tile * size, (len(scenes) - 1 - tile) * size))
        nearer = len(instances)
        for one in scene.instances:
            amodal, visible = np.pad(one.amodal, room), np.pad(one.visible, room)
            category, order = VEHICLES[one.category], one.depth_order + nearer
            instances.append(replace(one, category=category, amodal=amodal, visible=visible, depth_order=order))
    return Scene(np.concatenate([scene.image for scene in scenes], axis=1), tuple(instances), camera={})
