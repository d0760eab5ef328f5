"""The instance track: the image alone is given, and detections are matched to annotated instances by overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.annotations.usable import count_objects
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.instance.image_rows import COLUMNS, image_rows
from shape3d_amodal.evaluation.instance.table import InstanceTable
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Category

_ANY = Category(1, "object")


class InstanceEvaluator(Evaluator):
    """Average precision and recall of amodal, visible and occluded masks; annotation ids of results are not used.

    Instances that are marked ``ignore`` (crowds among them) or have no known amodal mask do not count, and neither do
    detections that match them: one detection for each instance, but any number for a crowd, whose overlap with a
    detection is the share of the detection that lies in it.

    Args:
        dataset: the ground truth; all of its images are scored, also those without results.
        class_agnostic: give all instances and results the same category, ``object``.
    """

    key: ClassVar[Literal["annotation id", "image id"]] = "image id"
    row_length: ClassVar[int] = len(COLUMNS)

    def __init__(self, dataset: AmodalDataset, *, class_agnostic: bool = False) -> None:
        self._known = dataset.category_names
        self._class_agnostic = class_agnostic
        if class_agnostic:
            dataset = AmodalDataset(images=tuple(map(_without_classes, dataset.images)), categories=(_ANY,))
        super().__init__(dataset)

    def evaluate(self) -> InstanceTable:
        table = InstanceTable(self._dataset.category_names, self._stack(sorted(self._images)))
        if not table.names:
            found = count_objects(one for image in self._dataset.images for one in image.instances)
            expected = "amodal masks of objects that are neither crowds nor marked `ignore`"
            raise DataError(f"no instance can be scored: expected {expected}; {found}")
        return table

    def _add(self, result: AmodalResult) -> None:
        image = self._images.get(result.image_id)
        if image is None:
            problem = f"{result.image_id} is not in the annotations; give those that the results were made for"
            raise DataError(problem, field="image_id")
        if result.category_id not in self._known:
            known = ", ".join(map(str, self._known))
            problem = f"expected a category of the annotations ({known}), got {result.category_id}"
            raise DataError(problem, field="category_id")
        if image.id in self._rows:
            raise DataError("another worker has scored this image; give it all results of an image", field="image_id")
        for name, mask in (
            ("segmentation", result.segmentation),
            ("visible_mask", result.visible),
            ("occluded_mask", result.occluded),
        ):
            if mask is not None and (mask.height, mask.width) != (image.height, image.width):
                raise DataError(
                    f"expected {image.height} x {image.width} pixels (height x width) like the image, got "
                    f"{mask.height} x {mask.width}; make the results anew",
                    field=f"{name}.size",
                )
        result = replace(result, category_id=_ANY.id) if self._class_agnostic else result
        self._results.setdefault(image.id, []).append(result)

    def _score(self, number: int, results: Sequence[AmodalResult]) -> NDArray[np.int64]:
        return image_rows(number, self._images[number].instances, results)


def _without_classes(image: AmodalImage) -> AmodalImage:
    return replace(image, instances=tuple(replace(one, category_id=_ANY.id) for one in image.instances))
