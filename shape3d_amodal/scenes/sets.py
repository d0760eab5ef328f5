"""Scenes as a data set on disk: pictures and one COCO JSON with the exact ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.config import Count, configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.files.atomic import make_folder, write_atomic, write_json_atomic
from shape3d_amodal.meshes.mesh import MeshSource, RecordedMeshes
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.scenes.compose import Scene, SceneConfig, make_scene
from shape3d_amodal.structures import OCCLUDER, AmodalDataset, AmodalImage, AmodalInstance, Category


@configuration
class SceneSetConfig:
    """A set of scenes, each with a target that is scored."""

    meshes: str = "open13:test"
    """Mesh source: open13:SPLIT, shapenet:FOLDER[:SPLIT], a folder of meshes by category, or a checked list (.json)."""
    scenes: SceneConfig = SceneConfig()
    """How the scenes are made."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes."""
    per_category: Count = 20
    """Targets of each category of the source."""
    targets_only: bool = True
    """Score the targets alone; the other objects stay in the annotations, marked to be ignored."""
    strict: bool = False
    """Read every mesh first and stop at one that cannot be used, instead of drawing another one and listing it."""


def category_names(meshes: MeshSource) -> tuple[str, ...]:
    """The source's categories: those of ShapeNet's 13 in their published order, then others by name.

    Raises:
        UsageError: one has the name that regions have which only hide others.
    """
    present = {meshes.category(name) for name in meshes.names}
    if OCCLUDER in present:
        raise UsageError(f"meshes: the category {OCCLUDER!r} is kept for what only hides others; rename the folder")
    return tuple(name for name in CATEGORIES if name in present) + tuple(sorted(present - set(CATEGORIES)))


def scene_set(config: SceneSetConfig, meshes: MeshSource) -> Iterator[tuple[str, Scene]]:
    """The scenes one by one, each with its target's category; categories take turns."""
    names = category_names(meshes)
    for index in range(config.per_category * len(names)):
        category = names[index % len(names)]
        yield category, make_scene(meshes, config.scenes, config.seed, index, target_category=category)


def write_scene_set(config: SceneSetConfig, folder: Path) -> AmodalDataset:
    """Write ``images/*.png``, ``meshes.json`` and, last, ``annotations.json`` to ``folder``; returns the annotations.

    ``meshes.json`` is the manifest of the mesh source, with the meshes that were drawn and could not be used.

    Raises:
        DataError: the mesh source cannot be used.
    """
    source = mesh_source(config.meshes, strict=config.strict)
    if config.strict:
        for name in source.names:  # found before anything is written
            source.load(name)
    meshes = RecordedMeshes(source)
    names = (*category_names(meshes), OCCLUDER)
    make_folder(folder / "images")
    images = []
    next_id = 1
    for index, (_, scene) in enumerate(scene_set(config, meshes)):
        file_name = f"{index:06d}.png"
        write_atomic(folder / "images" / file_name, png_bytes(scene.image))
        instances = annotate(scene, names, first_id=next_id, targets_only=config.targets_only)
        next_id += len(instances)
        images.append(scene_image(scene, index, file_name, instances))
    categories = tuple(Category(i + 1, name) for i, name in enumerate(names))
    dataset = AmodalDataset(images=tuple(images), categories=categories)
    write_json_atomic(folder / "meshes.json", meshes.manifest())
    write_coco_amodal(folder / "annotations.json", dataset)
    return dataset


def scene_image(scene: Scene, index: int, file_name: str, instances: tuple[AmodalInstance, ...]) -> AmodalImage:
    """Scene ``index`` as an image of a data set."""
    height, width = scene.image.shape[:2]
    return AmodalImage(
        id=index + 1, file_name=file_name, width=width, height=height, instances=instances, camera=scene.camera
    )


def annotate(scene: Scene, names: tuple[str, ...], *, first_id: int, targets_only: bool) -> tuple[AmodalInstance, ...]:
    """A scene's instances as annotations; category ids are places in ``names``, counted from 1.

    The region that bars erased becomes an instance of category ``occluder``, nearer than all, which is not scored.
    """
    erased = scene.erased is not None
    annotated = [
        AmodalInstance(
            id=first_id + i,
            category_id=names.index(one.category) + 1,
            visible=masks.encode(one.visible),
            amodal=masks.encode(one.amodal),
            occlude_rate=1 - float(one.visible.sum()) / float(one.amodal.sum()),
            depth_order=one.depth_order + erased,
            ignore=targets_only and i > 0,
            mesh=one.mesh,
            viewpoint=one.viewpoint,
        )
        for i, one in enumerate(scene.instances)
    ]
    if scene.erased is not None:
        region = masks.encode(scene.erased)
        annotated.append(
            AmodalInstance(
                id=first_id + len(annotated),
                category_id=names.index(OCCLUDER) + 1,
                visible=region,
                amodal=region,
                occlude_rate=0.0,
                depth_order=0,
                ignore=True,
            )
        )
    return tuple(annotated)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """A picture [H,W,3] uint8 as the bytes of a PNG file."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
