"""Sets of ``shapes2d`` scenes: their annotations, in memory or on disk, and the best scores that layers can reach."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.config import Count, configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.evaluation.instance.evaluator import InstanceEvaluator
from shape3d_amodal.evaluation.interface import ScoreTable
from shape3d_amodal.evaluation.workers import score
from shape3d_amodal.files.atomic import make_folder, write_atomic
from shape3d_amodal.files.progress import progress
from shape3d_amodal.methods.results import to_result
from shape3d_amodal.papers.layered.shapes2d import (
    CLASSES,
    Shapes2dConfig,
    ShapeScene,
    depth_layers,
    make_shapes,
    visible_parts,
)
from shape3d_amodal.scenes.sets import png_bytes
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category

CATEGORIES = tuple(Category(i + 1, name) for i, name in enumerate(CLASSES))


@configuration
class Shapes2dSetConfig:
    """A set of scenes of shapes."""

    shapes: Shapes2dConfig = Shapes2dConfig()
    """What is in a scene."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed of the scenes."""
    count: Count = 1000
    """Number of scenes."""
    stride: Literal[1, 2, 4, 8] = 4
    """Keep every stride-th pixel of masks and enlarge them again: 4 is the paper's 64 x 64 evaluation; 1 is exact."""

    def __post_init__(self) -> None:
        if self.shapes.size % self.stride:
            problem = f"expected a multiple of stride ({self.stride}), got {self.shapes.size}"
            raise UsageError(f"shapes.size: {problem}; change one")


def annotated_scenes(config: Shapes2dSetConfig) -> Iterator[tuple[ShapeScene, AmodalImage]]:
    """The scenes one by one, each with its annotations."""
    ids = itertools.count(1)
    for index in range(config.count):
        scene = make_shapes(config.shapes, config.seed, index)
        yield scene, _annotated(scene, index, config.stride, ids)


def write_shapes_set(config: Shapes2dSetConfig, folder: Path) -> AmodalDataset:
    """Write ``images/*.png`` and, last, ``annotations.json`` to ``folder``; returns the annotations.

    Raises:
        DataError: the folder cannot be written to.
    """
    make_folder(folder / "images")
    images = []
    for scene, image in progress(annotated_scenes(config), "scenes", config.count, unit="scenes"):
        write_atomic(folder / "images" / image.file_name, png_bytes(rgb(scene)))
        images.append(image)
    dataset = AmodalDataset(images=tuple(images), categories=CATEGORIES)
    write_coco_amodal(folder / "annotations.json", dataset)
    return dataset


def layer_bounds(config: Shapes2dSetConfig, layers: Sequence[int]) -> dict[int, ScoreTable]:
    """The best scores that masks of only so many ``layers`` of depth can reach: Table 2 of Layered Embeddings.

    Each instance gets those of its pixels that lie in the first layers. Every instance has one such mask, ranked by its
    true IoU: all of the paper's numbers are multiples of 1/101 (of 1/1010 for the mean over ten thresholds), which is
    only possible if no false positive is ranked above a true one. As in the authors' evaluation, classes do not count.

    Raises:
        DataError: there are no shapes in the scenes.
    """
    images: list[AmodalImage] = []
    results: dict[int, list[AmodalResult]] = {count: [] for count in layers}
    for scene, image in annotated_scenes(config):
        images.append(image)
        whole, _ = scene.on_grid(config.stride)
        depths = depth_layers(whole, max(layers))
        for count, own in results.items():
            for number, amodal in enumerate(whole, 1):
                kept = np.any(depths[:count] == number, axis=0)
                share = float(kept.sum() / amodal.sum())
                any_id = CATEGORIES[0].id  # classes do not count
                own.append(to_result(image.id, any_id, enlarge(kept, config.stride), None, score=share))
    dataset = AmodalDataset(images=tuple(images), categories=CATEGORIES)
    return {count: score(InstanceEvaluator(dataset, class_agnostic=True), own) for count, own in results.items()}


def rgb(scene: ShapeScene) -> NDArray[np.uint8]:
    """The image in colours [S,S,3] uint8."""
    return np.repeat(scene.image[..., None], 3, axis=2)


def enlarge(mask: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """``mask`` [..., h, w] with every pixel ``stride`` times as wide and high."""
    result: NDArray[np.bool_] = mask.repeat(stride, axis=-1).repeat(stride, axis=-2)
    return result


def _annotated(scene: ShapeScene, index: int, stride: int, ids: Iterator[int]) -> AmodalImage:
    whole, classes = scene.on_grid(stride)
    instances = tuple(
        AmodalInstance(
            id=next(ids),
            category_id=int(kind) + 1,
            visible=masks.encode(enlarge(visible, stride)),
            amodal=masks.encode(enlarge(amodal, stride)),
            occlude_rate=1 - float(visible.sum()) / float(amodal.sum()),
            depth_order=rank,
        )
        for rank, (amodal, visible, kind) in enumerate(zip(whole, visible_parts(whole), classes, strict=True))
    )
    size = len(scene.image)
    return AmodalImage(id=index + 1, file_name=f"{index:06d}.png", width=size, height=size, instances=instances)
