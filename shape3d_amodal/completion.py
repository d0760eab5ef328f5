"""Completing a whole data set: COCO JSON with visible masks in, results out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shape3d_amodal.baselines.interface import make_result, without_ground_truth
from shape3d_amodal.data import masks
from shape3d_amodal.data.crops import OCCLUDER
from shape3d_amodal.data.formats.coco_amodal import load_image
from shape3d_amodal.data.formats.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.pipeline import CompletedObject, ShapePriorPipeline
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance

Completed = tuple[AmodalImage, list[tuple[AmodalInstance, CompletedObject]]]


def complete_dataset(
    pipeline: ShapePriorPipeline,
    dataset: AmodalDataset,
    images: Path,
    *,
    annotations: Path,
    fit_steps: int | None = None,
) -> Iterator[Completed]:
    """Complete every instance of every image, image by image, in the data set's order.

    Args:
        pipeline: the stages.
        dataset: what ``read_coco_amodal`` gave; of its annotations only category, visible mask and, where known, depth
            order are looked at.
        images: folder that file names are relative to.
        annotations: the file that ``dataset`` was read from, for messages.
        fit_steps: steps of the fit at test time; None is the pipeline's own.

    Raises:
        DataError: a category that the weights do not know (before anything is done), or an image that cannot be read.
    """
    check_categories(pipeline, dataset, annotations)
    names = dataset.category_names
    for image in dataset.images:
        picture = load_image(images, image, file=annotations)
        seen = without_ground_truth(image).instances
        objects = pipeline.complete(
            picture,
            [masks.decode(instance.visible) for instance in seen],
            [names[instance.category_id] for instance in seen],
            depth_order=[instance.depth_order for instance in seen],
            fit_steps=fit_steps,
        )
        completed = [instance for instance in image.instances if names[instance.category_id] != OCCLUDER]
        yield image, list(zip(completed, objects, strict=True))


def check_categories(pipeline: ShapePriorPipeline, dataset: AmodalDataset, annotations: Path) -> None:
    """Refuse instances of categories that the weights do not know."""
    names, known = dataset.category_names, set(pipeline.categories) | {OCCLUDER}
    for image in dataset.images:
        for instance in image.instances:
            name = names[instance.category_id]
            if name not in known:
                problem = f"unknown category {name!r}; these weights know {', '.join(pipeline.categories)}"
                raise DataError(problem, file=annotations, field=f"annotations[id={instance.id}].category_id")


def without_depth_order(dataset: AmodalDataset) -> AmodalDataset:
    """The data set as if no depth order were known: every object may hide every other."""
    images = tuple(
        replace(image, instances=tuple(replace(one, depth_order=None) for one in image.instances))
        for image in dataset.images
    )
    return replace(dataset, images=images)


def to_result(image: AmodalImage, instance: AmodalInstance, one: CompletedObject, mesh: str | None) -> AmodalResult:
    """An object in the results format."""
    result = make_result(image, instance, one.amodal, one.score)
    return replace(result, viewpoint=one.viewpoint, mesh=mesh)
