"""What the tracks have in common that give visible masks: a result belongs to the annotation whose id it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.annotations.usable import count_objects
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance


class GivenMasksEvaluator(Evaluator):
    """Matches results to annotations by annotation id.

    Only instances with a known amodal mask that are not marked ``ignore`` are scored. Results of other instances are
    accepted, but not counted.
    """

    key: ClassVar[Literal["annotation id", "image id"]] = "annotation id"
    scorable: ClassVar[str] = (
        "amodal masks (`segmentation`) in the annotations, of objects that are neither crowds nor marked `ignore`"
    )
    """What the annotations need for an instance to be scored, for an error message."""

    def reset(self) -> None:
        super().reset()
        self._given: set[int] = set()

    def _add(self, result: AmodalResult) -> None:
        image, instance = self._match(result)
        number = instance.id if self.key == "annotation id" else image.id
        if number in self._rows or (instance.id in self._given and not self.several):
            raise DataError(f"annotation id {instance.id} came before; keep one result for it", field="annotation_id")
        self._given.add(instance.id)
        if self.key == "image id" or self._is_scored(instance):
            self._results.setdefault(number, []).append(result)

    def _match(self, result: AmodalResult) -> tuple[AmodalImage, AmodalInstance]:
        """The annotation of a result, and its image."""
        if result.annotation_id is None:
            raise DataError(
                "expected the id of the annotation that the mask completes, got none; add it, or score these results "
                "in the instance track, which matches by overlap",
                field="annotation_id",
            )
        if result.annotation_id not in self._annotations:
            problem = f"{result.annotation_id} is not in the annotations; give those that the results were made for"
            raise DataError(problem, field="annotation_id")
        image, instance = self._annotations[result.annotation_id]
        mask = result.segmentation
        for name, expected, got in (
            ("image_id", str(image.id), str(result.image_id)),
            ("category_id", str(instance.category_id), str(result.category_id)),
            ("segmentation.size", f"{image.height} x {image.width}", f"{mask.height} x {mask.width}"),
        ):
            if expected != got:
                problem = f"expected {expected} as annotation {instance.id} has, got {got}; make the results anew"
                raise DataError(problem, field=name)
        return image, instance

    def _is_scored(self, instance: AmodalInstance) -> bool:
        """Whether an instance is scored in this track."""
        return is_scored(instance)

    def _scored(self) -> list[int]:
        """The ids of the scored instances, in the data set's order.

        Raises:
            DataError: there are none.
        """
        scored = [key for key, (_, instance) in self._annotations.items() if self._is_scored(instance)]
        if not scored:
            found = count_objects(instance for _, instance in self._annotations.values())
            raise DataError(f"no instance can be scored: expected {self.scorable}; {found}")
        return scored


def is_scored(instance: AmodalInstance) -> bool:
    """Whether an instance has what all tracks need that match by annotation id."""
    return instance.amodal is not None and not instance.ignore


def refuse_missing(dataset: AmodalDataset, results: Sequence[AmodalResult], *, file: Path, option: str) -> None:
    """Refuse results that leave out a scored instance of which something is visible.

    Wholly hidden instances may be left out, for methods that complete visible masks are not asked for them.

    Args:
        file: where the results come from.
        option: what a user sets to count missing results as 0, for the error message.

    Raises:
        DataError: some of these instances have no result.
    """
    instances = (one for image in dataset.images for one in image.instances)
    wanted = {one.id for one in instances if is_scored(one) and masks.area(one.visible) > 0}
    missing = sorted(wanted - {result.annotation_id for result in results if result.chance is None})
    if missing:
        ids = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        problem = f"expected a result for each of {len(wanted)} annotations, {len(missing)} have none (id {ids})"
        raise DataError(f"{problem}; add them, or count them as 0 with {option}", file=file)
