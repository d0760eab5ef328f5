"""Reading what is to be completed from an annotation file, without failing for single bad records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.interface import Listener, Reading
from shape3d_amodal.annotations.formats.registry import read_annotations
from shape3d_amodal.errors import meant
from shape3d_amodal.masks.occlusion import without_invisible
from shape3d_amodal.methods.ground_truth import without_order
from shape3d_amodal.methods.resuming import Skipped
from shape3d_amodal.structures import (
    OCCLUDER,
    AmodalDataset,
    AmodalImage,
    AmodalInstance,
    Intrinsics,
    category_number,
)


@dataclass(frozen=True)
class VisibleSet:
    """Images with visible masks.

    Attributes:
        dataset: its categories are known, or ``occluder``; something of each object is visible.
        skipped: records that could not be read, and objects of unknown categories, which only hide others.
        hidden: number of objects that are fully hidden, and therefore left out.
        low_scores: number of detections that were left out because of their scores.
    """

    dataset: AmodalDataset
    skipped: tuple[Skipped, ...]
    hidden: int
    low_scores: int = 0

    def wanted(self, image: AmodalImage) -> list[AmodalInstance]:
        """The objects of ``image`` that are to be completed."""
        return [one for one in image.instances if one.category_id not in self.occluders]

    @property
    def crowds(self) -> int:
        """How many of the objects that are to be completed are crowds, several objects under one mask."""
        return sum(one.crowd for image in self.dataset.images for one in self.wanted(image))

    @cached_property
    def occluders(self) -> frozenset[int]:
        """Ids of the categories that only hide others."""
        return frozenset(one.id for one in self.dataset.categories if one.name == OCCLUDER)

    def seen_by(self, camera: Intrinsics | None) -> VisibleSet:
        """The set with a camera for all images that have none of their own."""
        images = tuple(replace(one, intrinsics=one.intrinsics or camera) for one in self.dataset.images)
        return replace(self, dataset=replace(self.dataset, images=images))

    def first(self, limit: int) -> VisibleSet:
        """The set with its first ``limit`` images alone, and what was skipped of them."""
        return self.only(self.dataset.images[:limit])

    def only(self, images: Sequence[AmodalImage], *, rest: bool = True) -> VisibleSet:
        """The set with ``images`` of it alone, and what was skipped of them.

        Args:
            rest: also what was skipped of no image of the set.
        """
        own = {image.id for image in images}
        every = {image.id for image in self.dataset.images}
        kept = [one for one in self.skipped if one.image_id in own or (rest and one.image_id not in every)]
        return replace(self, dataset=replace(self.dataset, images=tuple(images)), skipped=tuple(kept))


def left_out(occluders: Collection[int], image: AmodalImage, reason: str) -> tuple[Skipped, ...]:
    """All objects of ``image`` that were to be completed, left out for ``reason``.

    Args:
        occluders: ids of the categories that only hide others.
    """
    wanted = (one for one in image.instances if one.category_id not in occluders)
    return tuple(Skipped(reason=reason, image_id=image.id, annotation_id=one.id) for one in wanted)


def read_visible_set(
    annotations: str | Path,
    known: Iterable[str],
    *,
    depth_order: bool = True,
    read: Callable[[str | Path, Listener], Reading] = read_annotations,
) -> VisibleSet:
    """Read the annotation file ``annotations``; what is wrong with a record leaves out that record.

    Args:
        known: names of the categories that can be completed.
        depth_order: False forgets the order in depth: every object may hide every other.
        read: how the file is read, such as plain COCO or a list of detections.

    Raises:
        DataError: the file itself cannot be read.
    """
    listener = Listener(drop_invalid=True)
    reading = read(annotations, listener)
    dataset = reading.dataset
    unread = tuple(
        Skipped(reason=str(one.error), image_id=one.image_id, annotation_id=one.annotation_id)
        for one in listener.unread
    )
    dataset, strange = _hiding_unknown(dataset, tuple(known))
    hidden = sum(masks.area(one.visible) == 0 for image in dataset.images for one in image.instances)
    dataset = without_invisible(dataset)
    if not depth_order:
        dataset = replace(dataset, images=tuple(map(without_order, dataset.images)))
    return VisibleSet(dataset, (*unread, *strange), hidden, reading.low_scores)


def _hiding_unknown(dataset: AmodalDataset, known: tuple[str, ...]) -> tuple[AmodalDataset, tuple[Skipped, ...]]:
    """The data set with objects of unknown categories as mere occluders, and a word on each of them."""
    strange = {
        one.id: one.name
        for one in dataset.categories
        if one.name != OCCLUDER and category_number(one.name, known) is None
    }
    hints = {key: meant(name, known) for key, name in strange.items()}
    categories = tuple(replace(one, name=OCCLUDER) if one.id in strange else one for one in dataset.categories)
    how = "map names to these by data convert --classes, or call it occluder"
    remedy = f"it only hides others; known are {', '.join(known)}; {how}"
    skipped = [
        Skipped(
            reason=f"unknown category {strange[one.category_id]!r}{hints[one.category_id]}; {remedy}",
            image_id=image.id,
            annotation_id=one.id,
        )
        for image in dataset.images
        for one in image.instances
        if one.category_id in strange
    ]
    return replace(dataset, categories=categories), tuple(skipped)
