"""What a completion method is: image and visible masks in, amodal masks out.

A method is any object with ``name``, ``parameters`` and ``complete``. Whoever runs one shows it only what the protocol
allows (``without_ground_truth``), so a method cannot score by looking at the ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.structures import AmodalImage, AmodalInstance


@runtime_checkable
class CompletionMethod(Protocol):
    """A method of the completion track."""

    name: str
    """Name in tables."""
    parameters: int
    """Numbers that were learned; 0 where nothing is."""

    def complete(self, image: NDArray[np.uint8], record: AmodalImage, /) -> Sequence[AmodalResult]:
        """One result for each instance of ``record``, in its order (``make_result`` makes them).

        Args:
            image: [H,W,3] uint8, RGB.
            record: its instances with category, visible mask and, where known, depth order; no ground truth.
        """


@runtime_checkable
class ReconstructsMeshes(Protocol):
    """A method that can leave the meshes that it reconstructs."""

    meshes: Path | None
    """Folder that they are written to, for results to name them relative to its parent; None writes none."""


@runtime_checkable
class FindsObjects(Protocol):
    """A method of the instance track: it finds objects in an image by itself."""

    name: str
    """Name in tables."""
    parameters: int
    """Numbers that were learned; 0 where nothing is."""

    def find(self, image: NDArray[np.uint8], record: AmodalImage, /) -> Sequence[AmodalResult]:
        """Whatever it finds, with scores.

        Args:
            image: [H,W,3] uint8, RGB.
            record: the image's id and size; it has no instances.
        """


def without_ground_truth(record: AmodalImage) -> AmodalImage:
    """``record`` as a completion method may see it: no amodal masks, occlusion rates, meshes, cameras or crowd flags.

    The depth order stays; whoever may not know it gets ``completion.hide_depth_order``.
    """
    instances = tuple(
        replace(instance, amodal=None, occlude_rate=None, mesh=None, viewpoint=None, ignore=False, crowd=False)
        for instance in record.instances
    )
    return replace(record, instances=instances, camera=None)


def make_result(
    record: AmodalImage, instance: AmodalInstance, amodal: NDArray[np.bool_], score: float = 1.0
) -> AmodalResult:
    """The result that ``amodal`` [H,W] bool is the whole mask of ``instance``.

    The given visible mask is certain, so it is added to the amodal mask; what remains of that is the occluded mask.
    """
    visible = masks.decode(instance.visible)
    return AmodalResult(
        image_id=record.id,
        category_id=instance.category_id,
        score=score,
        segmentation=masks.encode(amodal | visible),
        annotation_id=instance.id,
        visible=instance.visible,
        occluded=masks.encode(amodal & ~visible),
        viewpoint=None,
        mesh=None,
    )
