"""Completing annotated images: visible masks in, whole masks out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.crops.pasting import CompletedObject
from shape3d_amodal.errors import UsageError, meant
from shape3d_amodal.files.atomic import write_atomic
from shape3d_amodal.masks.occlusion import known_order
from shape3d_amodal.methods.ground_truth import shown
from shape3d_amodal.methods.results import to_result
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.structures import OCCLUDER, AmodalImage, AmodalInstance, category_number

Objects = list[tuple[AmodalInstance, CompletedObject]]


def complete_image(
    pipeline: ShapePriorPipeline, image: NDArray[np.uint8], record: AmodalImage, names: Mapping[int, str]
) -> Objects:
    """The instances of an image [H,W,3] uint8, RGB, whose category is not ``occluder``, each with its completion.

    Args:
        record: the image's annotation; no ground truth is used.
        names: category names by id.
    """
    return complete_images(pipeline, [(record, image)], names)[0]


def complete_images(
    pipeline: ShapePriorPipeline,
    images: Iterable[tuple[AmodalImage, NDArray[np.uint8]]],
    names: Mapping[int, str],
) -> list[Objects]:
    """``complete_image`` of several images, whose objects the networks see together."""
    records, cuts = [], []
    for record, image in images:
        given = shown(record, "masks")
        order = known_order(given)
        cuts.append(
            pipeline.cut(
                image,
                [masks.decode(instance.visible) for instance in given.instances],
                [names[instance.category_id] for instance in given.instances],
                in_front={(i, j) for i, j in order if (j, i) not in order},  # annotations may contradict themselves
                intrinsics=given.intrinsics,
            )
        )
        annotated = {instance.id: instance for instance in record.instances}
        records.append([annotated[one.id] for one in given.instances if names[one.category_id] != OCCLUDER])
    found = pipeline.complete_cut(cuts)
    return [list(zip(*both, strict=True)) for both in zip(records, found, strict=True)]


class PipelineMethod:
    """The pipeline as a method beside others (``methods.interface.CompletionMethod``).

    Args:
        pipeline: the stages, as they shall run.
        names: category names by id.

    Attributes:
        meshes: folder that reconstructed meshes are written to; results name them relative to its parent.

    Raises:
        UsageError: a name that the weights do not know.
    """

    def __init__(self, pipeline: ShapePriorPipeline, names: Mapping[int, str], *, name: str = "ours") -> None:
        unknown = {name for name in names.values() if category_number(name, pipeline.categories) is None} - {OCCLUDER}
        if unknown:
            known = ", ".join(pipeline.categories)
            how = "map names to these, or to occluder, by data convert --classes"
            raise UsageError(
                f"unknown category {min(unknown)!r}{meant(min(unknown), pipeline.categories)}; known are {known}; {how}"
            )
        self.name = name
        self._pipeline = pipeline
        self._names = names
        self.meshes: Path | None = None
        self.parameters = pipeline.parameters

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> list[AmodalResult]:
        """See ``interface.CompletionMethod``; instances of category ``occluder`` have no result."""
        objects = complete_image(self._pipeline, image, record, self._names)
        return [
            result
            for instance, one in objects
            for result in completed_results(record, instance, one, self._save(record, instance, one))
        ]

    def _save(self, record: AmodalImage, instance: AmodalInstance, one: CompletedObject) -> str | None:
        """Write the object's mesh as Wavefront OBJ; its name, or None where none is asked for or there is none."""
        if self.meshes is None or not len(one.faces):
            return None
        name = f"{record.id}_{instance.id}.obj"
        lines = [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in one.verts.tolist()]
        lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in one.faces.tolist()]
        write_atomic(self.meshes / name, ("\n".join(lines) + "\n").encode())
        return f"{self.meshes.name}/{name}"


def completed_results(
    image: AmodalImage, instance: AmodalInstance, one: CompletedObject, mesh: str | None = None
) -> list[AmodalResult]:
    """A completed object in the results format: its mask, then its several answers, each with its chance."""
    to_own = partial(to_result, image.id, instance.category_id, visible=instance.visible, annotation_id=instance.id)
    whole = to_own(one.amodal, score=one.score, viewpoint=one.viewpoint, mesh=mesh, pose=one.pose, model=one.model)
    answers = [to_own(mask, score=one.score * chance, chance=chance) for mask, chance in one.hypotheses]
    return [whole, *answers]
