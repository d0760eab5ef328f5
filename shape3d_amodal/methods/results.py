"""The one way from what a method found to a record of the results file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.structures import AmodalImage, AmodalInstance, Pose, Rle

Mask = NDArray[np.bool_]


def to_result(
    image_id: int,
    category_id: int,
    amodal: Mask,
    visible: Mask | Rle | None,
    *,
    score: float = 1.0,
    annotation_id: int | None = None,
    viewpoint: dict[str, float | list[float]] | None = None,
    mesh: str | None = None,
    pose: Pose | None = None,
    model: str | None = None,
    chance: float | None = None,
) -> AmodalResult:
    """An object in the results format; the occluded mask is the amodal mask without the visible one.

    Args:
        amodal: [H,W] bool, taken as it is: a bare silhouette need not contain the visible mask.
        visible: [H,W] bool or its run-length code, or None where the method predicts none.
        score, annotation_id, viewpoint, mesh, pose, model, chance: as for ``AmodalResult``.
    """
    whole = masks.encode(amodal)
    seen = visible if visible is None or isinstance(visible, Rle) else masks.encode(visible)
    return AmodalResult(
        image_id=image_id,
        category_id=category_id,
        score=score,
        segmentation=whole,
        annotation_id=annotation_id,
        visible=seen,
        occluded=None if seen is None else masks.subtract(whole, seen),
        viewpoint=viewpoint or None,
        mesh=mesh,
        pose=pose,
        model=model,
        chance=chance,
    )


def completion_result(image: AmodalImage, instance: AmodalInstance, amodal: Mask, score: float = 1.0) -> AmodalResult:
    """The result that ``amodal`` [H,W] bool, joined with the given visible mask, is the whole mask of ``instance``."""
    whole = amodal | masks.decode(instance.visible)
    return to_result(image.id, instance.category_id, whole, instance.visible, score=score, annotation_id=instance.id)
