"""The instance track: what a method finds in the image by itself, matched to the annotations by overlap.

Detections and instances of an image are matched where the image is scored; what is kept are integers (``COLUMNS``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import faster_coco_eval.core.mask as coco_mask
import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.data import masks
from shape3d_amodal.data.formats.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.instance_metrics import OCCLUDED_LABEL, SUBSETS
from shape3d_amodal.evaluation.instance_table import COLUMNS, RIGHT, UNKNOWN, WRONG, InstanceTable
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.evaluation.matching import IOU_THRESHOLDS, MAX_DETECTIONS, match
from shape3d_amodal.structures import AmodalDataset, AmodalInstance

_FIRST = COLUMNS.index("all")
_BY_AREA = np.array([one.measure == "area" for one in SUBSETS.values()])
_LOW, _HIGH = (np.array([getattr(one, end) for one in SUBSETS.values()]) for end in ("low", "high"))


@dataclass(frozen=True, slots=True)
class _Region:
    """A mask of one kind, of an instance or of a detection.

    Attributes:
        id: of the instance; 0 for a detection.
        code: the mask as COCO's dict.
        area: its pixels.
        hidden: share of the whole object that is hidden; NaN if unknown.
        ignored: an instance that does not count, or a detection that says that there is nothing of this kind.
        score: of a detection.
    """

    id: int
    code: dict[str, object]
    area: int
    hidden: float
    ignored: bool
    score: float = 0.0


class InstanceEvaluator(Evaluator):
    """Average precision and recall of amodal, visible and occluded masks.

    Instances marked ``ignore`` (crowds among them) or without a known amodal mask do not count, and neither do
    detections that match them.

    Args:
        dataset: the ground truth; scored are all its images, whether they have results or not.
    """

    def __init__(self, dataset: AmodalDataset) -> None:
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
        if result.category_id not in self._dataset.category_names:
            known = ", ".join(map(str, self._dataset.category_names))
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
        groups: dict[tuple[int, int], tuple[list[_Region], list[_Region]]] = {}
        for one in self._images[image_id].instances:
            for kind, region in _truths(one):
                groups.setdefault((kind, one.category_id), ([], []))[0].append(region)
        for result in self._results.get(image_id, []):
            for kind, region in _detections(result):
                groups.setdefault((kind, result.category_id), ([], []))[1].append(region)
        return _stack([_group_rows((image_id, *key), *groups[key]) for key in sorted(groups)])


def evaluate_instances(
    dataset: AmodalDataset, results: Iterable[AmodalResult], *, file: str | Path | None = None
) -> InstanceTable:
    """Score ``results`` against ``dataset`` in one go; errors are those of ``InstanceEvaluator``."""
    evaluator = InstanceEvaluator(dataset)
    evaluator.process(results, file=file)
    return evaluator.evaluate()


def _truths(instance: AmodalInstance) -> Iterator[tuple[int, _Region]]:
    """The masks of an instance by the place of their kind; of an empty visible or hidden part there is none."""
    amodal, visible = instance.amodal, instance.visible
    seen = masks.area(visible)
    if amodal is None:
        yield 0, _Region(instance.id, visible.to_coco(), seen, float("nan"), True)
        yield 1, _Region(instance.id, visible.to_coco(), seen, float("nan"), instance.ignore)
        return
    hidden = masks.subtract(amodal, visible)
    areas = masks.area(amodal), seen, masks.area(hidden)
    share = areas[2] / max(areas[0], 1)
    for kind, (mask, area) in enumerate(zip((amodal, visible, hidden), areas, strict=True)):
        if kind == 0 or area > 0:
            yield kind, _Region(instance.id, mask.to_coco(), area, share, instance.ignore)


def _detections(result: AmodalResult) -> Iterator[tuple[int, _Region]]:
    """The masks of a result by the place of their kind."""
    occluded = result.occluded
    if occluded is None and result.visible is not None:
        occluded = masks.subtract(result.segmentation, result.visible)
    areas = [None if mask is None else masks.area(mask) for mask in (result.segmentation, result.visible, occluded)]
    share = float("nan") if areas[2] is None else areas[2] / max(areas[0] or 0, 1)
    for kind, (mask, area) in enumerate(zip((result.segmentation, result.visible, occluded), areas, strict=True)):
        if mask is not None and area is not None:
            yield kind, _Region(0, mask.to_coco(), area, share, kind > 0 and area == 0, result.score)


def _group_rows(key: tuple[int, int, int], truths: Sequence[_Region], found: Sequence[_Region]) -> NDArray[np.int64]:
    """The rows of one image, kind and category: first the instances, then the detections by falling score."""
    detections = sorted(found, key=lambda one: -one.score)[:MAX_DETECTIONS]  # the first of equals stays first
    ignored, outside = (_outside(side) | np.array([one.ignored for one in side], bool) for side in (truths, detections))
    outcomes, taken = match(_ious(truths, detections), ignored, outside, IOU_THRESHOLDS)
    rows = np.zeros((len(truths) + len(detections), len(COLUMNS)), np.int64)
    rows[:, :3] = key
    head, tail = rows[: len(truths)], rows[len(truths) :]
    head[:, 4] = [one.id for one in truths]
    head[:, _FIRST : _FIRST + len(SUBSETS)] = ~ignored.T
    head[:, -1] = [_found(one, detections, by) for one, by in zip(truths, taken.tolist(), strict=True)]
    tail[:, 3] = 1
    tail[:, 4] = np.arange(len(detections))
    tail[:, 5] = np.array([one.score for one in detections], np.float64).view(np.int64)
    tail[:, _FIRST : _FIRST + len(SUBSETS)] = outcomes.T
    return rows


def _outside(side: Sequence[_Region]) -> NDArray[np.bool_]:
    """Which masks are no part of each subset [len(SUBSETS),N]; what is unknown is a part."""
    measures = np.array([[one.area for one in side], [one.hidden for one in side]], np.float64)
    values = measures[np.where(_BY_AREA, 0, 1)]
    below = np.where(_BY_AREA[:, None], values < _LOW[:, None], values <= _LOW[:, None])
    result: NDArray[np.bool_] = below | (values > _HIGH[:, None])
    return result


def _ious(truths: Sequence[_Region], detections: Sequence[_Region]) -> NDArray[np.float64]:
    if not truths or not detections:
        return np.zeros((len(detections), len(truths)))
    codes = [[one.code for one in side] for side in (detections, truths)]
    return np.asarray(coco_mask.iou(codes[0], codes[1], [0] * len(truths)), np.float64)


def _found(truth: _Region, detections: Sequence[_Region], by: int) -> int:
    if by < 0:
        return 0
    predicted = detections[by].hidden
    if np.isnan(truth.hidden) or np.isnan(predicted):
        return UNKNOWN
    return RIGHT if (truth.hidden > OCCLUDED_LABEL) == (predicted > OCCLUDED_LABEL) else WRONG


def _stack(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros((0, len(COLUMNS)), np.int64), *parts])
