"""The instance track: what a method finds in the image by itself, matched to the annotations by overlap.

Detections and instances of an image are matched where the image is scored; what is kept are integers (``COLUMNS``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.instance.image_matching import match_image
from shape3d_amodal.evaluation.instance.table import COLUMNS, InstanceTable
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.structures import AmodalDataset, AmodalImage, Category

_ANY = Category(1, "object")


class InstanceEvaluator(Evaluator):
    """Average precision and recall of amodal, visible and occluded masks.

    Instances marked ``ignore`` (crowds among them) or without a known amodal mask do not count, and neither do
    detections that match them: one for each, but any number for a crowd, by the share of them that lies in it.

    Args:
        dataset: the ground truth; scored are all its images, whether they have results or not.
        class_agnostic: whatever their categories, all instances and results are taken for one category, ``object``.
    """

    def __init__(self, dataset: AmodalDataset, *, class_agnostic: bool = False) -> None:
        self._known = dataset.category_names
        self._class_agnostic = class_agnostic
        if class_agnostic:
            dataset = AmodalDataset(images=tuple(map(_without_classes, dataset.images)), categories=(_ANY,))
        self._dataset = dataset
        self._images = {image.id: image for image in dataset.images}
        self.reset()

    def reset(self) -> None:
        self._results: dict[int, list[AmodalResult]] = {}
        self._rows: dict[int, NDArray[np.int64]] = {}

    def process(
        self,
        results: Iterable[AmodalResult],
        *,
        file: str | Path | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """Take in ``results``, in whatever order; annotation ids are not looked at.

        Raises:
            DataError: an unknown image or category, masks of another size than the image, or an image that another
                worker has scored.
        """
        for number, result in zip(itertools.count() if numbers is None else numbers, results, strict=False):
            try:
                self._check(result)
            except DataError as error:
                raise DataError(error.problem, file=file, field=f"[{number}].{error.field}") from None
            result = replace(result, category_id=_ANY.id) if self._class_agnostic else result
            self._results.setdefault(result.image_id, []).append(result)

    def records(self) -> NDArray[np.int64]:
        """Rows [M,len(COLUMNS)] of the images with results."""
        return _stack([self._image_rows(key) for key in sorted({*self._results, *self._rows})])

    def merge(self, records: NDArray[np.int64]) -> None:
        order = np.argsort(records[:, 0], kind="stable")
        keys, starts = np.unique(records[order, 0], return_index=True)
        for key, rows in zip(keys.tolist(), np.split(records[order], starts[1:]), strict=False):
            if key not in self._images:
                raise DataError(f"image id {key} of a shard is not in the annotations; shards need one data set")
            if key in self._rows or key in self._results:
                raise DataError(f"image id {key} came before; give all results of an image to one worker")
            self._rows[key] = rows

    def evaluate(self) -> InstanceTable:
        rows = _stack([self._image_rows(key) for key in sorted(self._images)])
        table = InstanceTable(self._dataset.category_names, rows)
        if not table.names:
            raise DataError("no instance can be scored: expected instances that are not marked `ignore`")
        return table

    def _check(self, result: AmodalResult) -> None:
        image = self._images.get(result.image_id)
        if image is None:
            raise DataError(
                f"{result.image_id} is not in the annotations; give those that the results were made for",
                field="image_id",
            )
        if result.category_id not in self._known:
            known = ", ".join(map(str, self._known))
            raise DataError(
                f"expected a category of the annotations ({known}), got {result.category_id}", field="category_id"
            )
        if result.image_id in self._rows:
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

    def _image_rows(self, image_id: int) -> NDArray[np.int64]:
        if image_id in self._rows:
            return self._rows[image_id]
        return match_image(image_id, self._images[image_id].instances, self._results.get(image_id, []))


def evaluate_instances(
    dataset: AmodalDataset,
    results: Iterable[AmodalResult],
    *,
    file: str | Path | None = None,
    class_agnostic: bool = False,
) -> InstanceTable:
    """Score ``results`` against ``dataset`` in one go; arguments and errors are those of ``InstanceEvaluator``."""
    evaluator = InstanceEvaluator(dataset, class_agnostic=class_agnostic)
    evaluator.process(results, file=file)
    return evaluator.evaluate()


def _without_classes(image: AmodalImage) -> AmodalImage:
    return replace(image, instances=tuple(replace(one, category_id=_ANY.id) for one in image.instances))


def _stack(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros((0, len(COLUMNS)), np.int64), *parts])
