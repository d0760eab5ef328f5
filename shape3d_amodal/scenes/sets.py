"""Scenes as a data set on disk: images and one COCO JSON with the exact ground truth."""

from __future__ import annotations

from collections.abc import Iterable
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
from shape3d_amodal.files.progress import progress
from shape3d_amodal.meshes.mesh import MeshSource
from shape3d_amodal.meshes.sources import CATEGORIES, mesh_source
from shape3d_amodal.scenes.compose import Scene, SceneConfig, make_scene
from shape3d_amodal.structures import OCCLUDER, AmodalDataset, AmodalImage, AmodalInstance, Category


@configuration
class SceneSetConfig:
    """A set of scenes, each with a scored target."""

    meshes: str = "open13:test"
    """Mesh source: open13[:SPLIT], shapenet:FOLDER[:SPLIT], a folder of meshes by category, a checked list (.json)."""
    scenes: SceneConfig = SceneConfig()
    """How the scenes are made."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes."""
    per_category: Count = 20
    """Targets of each category of the source."""
    targets_only: bool = True
    """Score only the targets; the other objects stay in the annotations, marked to be ignored."""
    strict: bool = False
    """Read every mesh first and stop at one that cannot be used, instead of drawing another one and listing it."""


def category_names(meshes: MeshSource) -> tuple[str, ...]:
    """The source's categories: those of ShapeNet's 13 in their published order, then the others by name.

    Raises:
        UsageError: one has the name ``occluder``, which is reserved.
    """
    present = {meshes.category(name) for name in meshes.names}
    if OCCLUDER in present:
        raise UsageError(f"meshes: the category {OCCLUDER!r} is kept for what only hides others; rename the folder")
    return tuple(name for name in CATEGORIES if name in present) + tuple(sorted(present - set(CATEGORIES)))


def write_scene_set(config: SceneSetConfig, folder: Path) -> AmodalDataset:
    """Write ``images/*.png``, ``meshes.json`` and, last, ``annotations.json`` to ``folder``; returns the annotations.

    The categories of the targets take turns. ``meshes.json`` is the manifest of the mesh source, with the meshes that
    were drawn and could not be used.

    Raises:
        DataError: the mesh source cannot be used.
    """
    meshes = mesh_source(config.meshes, strict=config.strict)
    if config.strict:
        for name in meshes.names:  # so that errors come before anything is written
            meshes.load(name)
    names = category_names(meshes)
    scenes = (
        make_scene(meshes, config.scenes, config.seed, index, target_category=names[index % len(names)])
        for index in range(config.per_category * len(names))
    )
    count = config.per_category * len(names)
    dataset = write_images(folder, scenes, count, (*names, OCCLUDER), targets_only=config.targets_only)
    write_json_atomic(folder / "meshes.json", meshes.manifest())
    write_coco_amodal(folder / "annotations.json", dataset)
    return dataset


def write_images(
    folder: Path, scenes: Iterable[Scene], count: int, names: tuple[str, ...], *, targets_only: bool = False
) -> AmodalDataset:
    """Write the images of ``count`` ``scenes`` to ``folder``/images; returns their annotations (see ``annotate``)."""
    make_folder(folder / "images")
    images: list[AmodalImage] = []
    next_id = 1
    for index, scene in enumerate(progress(scenes, "scenes", count, unit="scenes")):
        image = annotate(scene, index, names, f"{index:06d}.png", first_id=next_id, targets_only=targets_only)
        write_atomic(folder / "images" / image.file_name, png_bytes(scene.image))
        next_id += len(image.instances)
        images.append(image)
    return AmodalDataset(images=tuple(images), categories=tuple(Category(i, name) for i, name in enumerate(names, 1)))


def annotate(
    scene: Scene, index: int, names: tuple[str, ...], file_name: str, *, first_id: int, targets_only: bool
) -> AmodalImage:
    """Scene ``index`` as an annotated image; category ids are places in ``names``, counted from 1.

    The region that bars erased becomes an instance of category ``occluder``, the nearest, which is not scored.

    Args:
        first_id: id of the first instance, the others follow.
        targets_only: mark all instances but the first to be ignored.
    """
    erased = scene.erased is not None
    instances = [
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
        instances.append(
            AmodalInstance(
                id=first_id + len(instances),
                category_id=names.index(OCCLUDER) + 1,
                visible=region,
                amodal=region,
                occlude_rate=0.0,
                depth_order=0,
                ignore=True,
            )
        )
    height, width = scene.image.shape[:2]
    return AmodalImage(
        id=index + 1,
        file_name=file_name,
        width=width,
        height=height,
        instances=tuple(instances),
        camera=scene.camera or None,
    )


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """An image [H,W,3] uint8 as the bytes of a PNG file."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
