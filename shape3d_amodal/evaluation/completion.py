"""The completion track: visible masks are given, every scored instance gets one amodal mask, matched by annotation id.

What is kept of an instance are integer pixel counts, so any number of workers gives the identical table::

    evaluator = CompletionEvaluator(dataset)
    evaluator.process(results_of_this_worker)
    evaluator.merge(records_of_another_worker)
    table = evaluator.evaluate()
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.data import masks
from shape3d_amodal.data.formats.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation import metrics
from shape3d_amodal.evaluation.completion_table import COUNTS, CompletionTable
from shape3d_amodal.evaluation.counting import band, tally
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.structures import AmodalDataset, AmodalInstance, Rle


class CompletionEvaluator(Evaluator):
    """Scores amodal masks of given instances (``reset``, ``process``, ``evaluate``, as detectron2's evaluators).

    Scored are the instances with a known amodal mask that are not marked ``ignore``; results for others are accepted
    and not counted.

    Args:
        dataset: the ground truth.
        boundary: also count the boundary bands, which takes several times as long.
    """

    def __init__(self, dataset: AmodalDataset, *, boundary: bool = False) -> None:
        self._dataset = dataset
        self._boundary = boundary
        self._known = {instance.id: (image, instance) for image in dataset.images for instance in image.instances}
        self.reset()

    def reset(self) -> None:
        """Forget all results."""
        self._seen: set[int] = set()
        self._rows: dict[int, list[int]] = {}

    def process(
        self,
        results: Iterable[AmodalResult],
        *,
        file: str | Path | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """Count the pixels of ``results``, which came from ``file`` (for messages).

        Raises:
            DataError: a result without an annotation id, with an unknown one or one that came before, or one whose
                image, category or size is not its annotation's.
        """
        for number, result in zip(itertools.count() if numbers is None else numbers, results, strict=False):
            try:
                instance = self._match(result)
                self._mark(instance.id)
            except DataError as error:
                raise DataError(error.problem, file=file, field=f"[{number}].{error.field}") from None
            if _is_scored(instance):
                self._rows[instance.id] = _count(instance, result.segmentation, self._boundary)

    def records(self) -> NDArray[np.int64]:
        """The counts [M,len(COUNTS)] of the scored results so far, by annotation id: what a worker hands on."""
        return _array([self._rows[key] for key in sorted(self._rows)])

    def merge(self, records: NDArray[np.int64]) -> None:
        """Add the ``records()`` of another worker's evaluator of the same data set.

        Raises:
            DataError: an annotation id that is unknown or was counted before.
        """
        for row in records.tolist():
            if row[0] not in self._known:
                raise DataError(
                    f"annotation id {row[0]} of a shard is not in the annotations; shards need one data set"
                )
            self._mark(row[0])
            self._rows[row[0]] = row

    def evaluate(self) -> CompletionTable:
        """The table over all scored instances of the data set; those without a prediction count 0.

        Raises:
            DataError: the data set has no instance that can be scored.
        """
        scored = [instance for _, instance in self._known.values() if _is_scored(instance)]
        if not scored:
            raise DataError("no instance can be scored: expected amodal masks (`segmentation`) in the annotations")
        rows = [self._rows.get(instance.id) or _count(instance, None, self._boundary) for instance in scored]
        return CompletionTable(self._dataset.category_names, _array(rows), boundary=self._boundary)

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
        if annotation_id in self._seen:
            raise DataError(f"annotation id {annotation_id} came before; keep one result for it", field="annotation_id")
        self._seen.add(annotation_id)


def evaluate_completion(
    dataset: AmodalDataset,
    results: Iterable[AmodalResult],
    *,
    boundary: bool = False,
    file: str | Path | None = None,
) -> CompletionTable:
    """Score ``results`` against ``dataset`` in one go; arguments and errors are those of ``CompletionEvaluator``."""
    evaluator = CompletionEvaluator(dataset, boundary=boundary)
    evaluator.process(results, file=file)
    return evaluator.evaluate()


def _is_scored(instance: AmodalInstance) -> bool:
    return instance.amodal is not None and not instance.ignore


def _count(instance: AmodalInstance, prediction: Rle | None, boundary: bool) -> list[int]:
    """The counts of one instance in the order of ``COUNTS``, on the run-length codes."""
    assert instance.amodal is not None, "only instances with an amodal mask are scored"
    amodal, visible = masks.runs(instance.amodal), masks.runs(instance.visible)
    mask = np.array([amodal.sum()]) if prediction is None else masks.runs(prediction)
    # By place: in the prediction, in the amodal mask, in the visible mask.
    inside = tally(mask, amodal, visible).reshape(2, 2, 2).transpose(2, 1, 0)
    edges = _count_edges(instance.amodal, prediction) if boundary else [0, 0, 0]
    areas = [inside[1].sum(), inside[:, 1].sum(), inside[1, 1].sum()]
    hidden = [inside[1, :, 0].sum(), inside[:, 1, 0].sum(), inside[1, 1, 0]]
    return [instance.id, instance.category_id, int(prediction is not None), *map(int, areas + hidden), *edges]


def _count_edges(amodal: Rle, prediction: Rle | None) -> list[int]:
    """|Pd|, |Ad| and |Pd ∩ Ad| of the boundary bands."""
    height, width = amodal.height, amodal.width
    reach = metrics.boundary_width(height, width)
    true = band(masks.runs(amodal), height, width, reach)
    if prediction is None:
        return [0, int(np.count_nonzero(true)), 0]
    found = band(masks.runs(prediction), height, width, reach)
    return [int(np.count_nonzero(pixels)) for pixels in (found, true, found & true)]


def _array(rows: list[list[int]]) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, len(COUNTS))
