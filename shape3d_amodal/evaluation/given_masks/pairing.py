"""What the tracks share that match a result to its annotation by id."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.structures import AmodalDataset, AmodalInstance


class MatchedEvaluator(Evaluator):
    """Matches results by annotation id, and keeps rows whose first column is that id.

    Scored are the instances with a known amodal mask that are not marked ``ignore``; results for others are accepted
    and not counted.

    Args:
        dataset: the ground truth.
    """

    several: ClassVar[bool] = False
    """Whether an annotation may have more than one result."""

    def __init__(self, dataset: AmodalDataset) -> None:
        self._dataset = dataset
        self._known = {instance.id: (image, instance) for image in dataset.images for instance in image.instances}
        self.reset()

    def reset(self) -> None:
        self._seen: set[int] = set()
        self._merged: dict[int, list[Any]] = {}

    def process(
        self,
        results: Iterable[AmodalResult],
        *,
        file: str | Path | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """Take in ``results``, which came from ``file``.

        Raises:
            DataError: a result without an annotation id, with an unknown one or one that came before, or one whose
                image, category or size is not its annotation's.
        """
        for number, result in zip(itertools.count() if numbers is None else numbers, results, strict=False):
            place = f"[{number}]"
            try:
                instance = self._match(result)
                if instance.id in self._merged or not self.several:
                    self._mark(instance.id)
                self._take(instance, result)
            except DataError as error:
                raise DataError(error.problem, file=file, field=f"{place}.{error.field}") from None

    def merge(self, records: NDArray[Any]) -> None:
        for row in records.tolist():
            identity = int(row[0])
            if identity not in self._known:
                raise DataError(
                    f"annotation id {identity} of a shard is not in the annotations; shards need one data set"
                )
            self._mark(identity)
            self._merged[identity] = row

    @abstractmethod
    def _take(self, instance: AmodalInstance, result: AmodalResult) -> None:
        """Score or keep the result of an instance; the field of a ``DataError`` names the result's."""

    def _scored(self) -> list[AmodalInstance]:
        """The instances that count, in the data set's order.

        Raises:
            DataError: there are none.
        """
        scored = [instance for _, instance in self._known.values() if is_scored(instance)]
        if not scored:
            raise DataError(
                "no instance can be scored: expected amodal masks (`segmentation`) in the annotations, of objects "
                "that are not marked `ignore`"
            )
        return scored

    def _match(self, result: AmodalResult) -> AmodalInstance:
        if result.annotation_id is None:
            raise DataError(
                "expected the id of the annotation that the mask completes, got none; add it, or score these results "
                "in the instance track, which matches by overlap",
                field="annotation_id",
            )
        if result.annotation_id not in self._known:
            raise DataError(
                f"{result.annotation_id} is not in the annotations; give those that the results were made for",
                field="annotation_id",
            )
        image, instance = self._known[result.annotation_id]
        mask = result.segmentation
        for name, expected, got in (
            ("image_id", str(image.id), str(result.image_id)),
            ("category_id", str(instance.category_id), str(result.category_id)),
            ("segmentation.size", f"{image.height} x {image.width}", f"{mask.height} x {mask.width}"),
        ):
            if expected != got:
                raise DataError(
                    f"expected {expected} as annotation {instance.id} has, got {got}; make the results anew",
                    field=name,
                )
        return instance

    def _mark(self, annotation_id: int) -> None:
        if annotation_id in self._seen or annotation_id in self._merged:
            raise DataError(f"annotation id {annotation_id} came before; keep one result for it", field="annotation_id")
        self._seen.add(annotation_id)


def missing_ids(dataset: AmodalDataset, results: Iterable[AmodalResult]) -> list[int]:
    """Ids that count and have no result, but for objects of which nothing is visible: nobody is given them."""
    known = {result.annotation_id for result in results}
    instances = (one for image in dataset.images for one in image.instances if one.id not in known)
    return sorted(one.id for one in instances if is_scored(one) and masks.area(one.visible) > 0)


def is_scored(instance: AmodalInstance) -> bool:
    """Whether an instance counts in the tracks that match by annotation id."""
    return instance.amodal is not None and not instance.ignore
