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
from shape3d_amodal.evaluation.instance_metrics import KINDS, OCCLUDED_LABEL, SUBSETS
from shape3d_amodal.evaluation.instance_table import COLUMNS, FOUND, RIGHT, UNKNOWN, WRONG, InstanceTable
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.evaluation.matching import IOU_THRESHOLDS, MAX_DETECTIONS, match
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Rle


@dataclass(frozen=True)
class _Truth:
    """An instance of one kind: its mask, its hidden share (NaN if unknown), and whether it does not count."""

    id: int
    mask: Rle
    hidden: float
    ignored: bool


@dataclass(frozen=True)
class _Detection:
    """A result of one kind; its hidden share is NaN if it states no visible mask."""

    mask: Rle
    hidden: float
    score: float


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
        image, results = self._images[image_id], self._results.get(image_id, [])
        categories = {one.category_id for one in image.instances} | {one.category_id for one in results}
        return _stack(
            [
                _group_rows(
                    (image_id, kind, category), _truths(image, category, kind), _detections(results, category, kind)
                )
                for kind in range(len(KINDS))
                for category in sorted(categories)
            ]
        )


def evaluate_instances(
    dataset: AmodalDataset, results: Iterable[AmodalResult], *, file: str | Path | None = None
) -> InstanceTable:
    """Score ``results`` against ``dataset`` in one go; errors are those of ``InstanceEvaluator``."""
    evaluator = InstanceEvaluator(dataset)
    evaluator.process(results, file=file)
    return evaluator.evaluate()


def _truths(image: AmodalImage, category: int, kind: int) -> list[_Truth]:
    return [truth for one in image.instances if one.category_id == category for truth in _truth(one, KINDS[kind])]


def _truth(instance: AmodalInstance, kind: str) -> Iterator[_Truth]:
    amodal, visible = instance.amodal, instance.visible
    hidden = float("nan") if amodal is None else _share(masks.subtract(amodal, visible), amodal)
    if kind == "amodal":
        yield _Truth(instance.id, amodal or visible, hidden, instance.ignore or amodal is None)
    elif kind == "visible" and masks.area(visible) > 0:
        yield _Truth(instance.id, visible, hidden, instance.ignore)
    elif kind == "occluded" and amodal is not None and hidden > 0:
        yield _Truth(instance.id, masks.subtract(amodal, visible), hidden, instance.ignore)


def _detections(results: Sequence[AmodalResult], category: int, kind: int) -> list[_Detection]:
    """The detections by falling score, the first of equals first."""
    own = [one for result in results if result.category_id == category for one in _detection(result, KINDS[kind])]
    return sorted(own, key=lambda one: -one.score)[:MAX_DETECTIONS]


def _detection(result: AmodalResult, kind: str) -> Iterator[_Detection]:
    occluded = result.occluded
    if occluded is None and result.visible is not None:
        occluded = masks.subtract(result.segmentation, result.visible)
    hidden = float("nan") if occluded is None else _share(occluded, result.segmentation)
    mask = {"amodal": result.segmentation, "visible": result.visible, "occluded": occluded}[kind]
    if mask is not None:
        yield _Detection(mask, hidden, result.score)


def _share(part: Rle, whole: Rle) -> float:
    return masks.area(part) / max(masks.area(whole), 1)


def _group_rows(
    key: tuple[int, int, int], truths: Sequence[_Truth], detections: Sequence[_Detection]
) -> NDArray[np.int64]:
    """The rows of one image, kind and category: first the instances, then the detections."""
    areas = [np.array([masks.area(one.mask) for one in side], np.float64) for side in (truths, detections)]
    shares = [np.array([one.hidden for one in side], np.float64) for side in (truths, detections)]
    # An empty visible or occluded mask says that there is nothing to find, so it is no wrong detection.
    nothing = (areas[1] == 0) & (key[1] > 0)
    ignored = _outside(areas[0], shares[0]) | np.array([one.ignored for one in truths], bool)
    outcomes, taken = match(_ious(truths, detections), ignored, _outside(areas[1], shares[1]) | nothing, IOU_THRESHOLDS)
    rows = np.zeros((len(truths) + len(detections), len(COLUMNS)), np.int64)
    rows[:, :3] = key
    head, tail = rows[: len(truths)], rows[len(truths) :]
    first = COLUMNS.index("all")
    head[:, 4] = [one.id for one in truths]
    head[:, first : first + len(SUBSETS)] = ~ignored.T
    head[:, COLUMNS.index(FOUND)] = [_found(shares[0][i], shares[1], by) for i, by in enumerate(taken.tolist())]
    tail[:, 3] = 1
    tail[:, 4] = np.arange(len(detections))
    tail[:, 5] = np.array([one.score for one in detections], np.float64).view(np.int64)
    tail[:, first : first + len(SUBSETS)] = outcomes.T
    return rows


def _outside(areas: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which masks are no part of each subset [len(SUBSETS),N]; what is unknown is a part."""
    return np.stack(
        [
            (areas < one.low) | (areas > one.high)
            if one.measure == "area"
            else (shares <= one.low) | (shares > one.high)
            for one in SUBSETS.values()
        ]
    )


def _ious(truths: Sequence[_Truth], detections: Sequence[_Detection]) -> NDArray[np.float64]:
    if not truths or not detections:
        return np.zeros((len(detections), len(truths)))
    codes = [[one.mask.to_coco() for one in side] for side in (detections, truths)]
    return np.asarray(coco_mask.iou(codes[0], codes[1], [0] * len(truths)), np.float64)


def _found(share: float, predicted: NDArray[np.float64], by: int) -> int:
    if by < 0:
        return 0
    if np.isnan(share) or np.isnan(predicted[by]):
        return UNKNOWN
    return RIGHT if (share > OCCLUDED_LABEL) == (predicted[by] > OCCLUDED_LABEL) else WRONG


def _stack(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros((0, len(COLUMNS)), np.int64), *parts])
