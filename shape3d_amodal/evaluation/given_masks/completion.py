"""The completion track: visible masks are given, every scored instance gets one amodal mask, matched by annotation id.

What is kept of an instance are integer pixel counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.evaluation import metrics
from shape3d_amodal.evaluation.given_masks.completion_table import COUNTS, CompletionTable
from shape3d_amodal.evaluation.given_masks.counting import band, tally
from shape3d_amodal.evaluation.given_masks.pairing import MatchedEvaluator, is_scored
from shape3d_amodal.structures import AmodalDataset, AmodalInstance, Rle


class CompletionEvaluator(MatchedEvaluator):
    """Scores amodal masks of given instances.

    Args:
        dataset: the ground truth.
        boundary: also count the boundary bands, which takes several times as long.
    """

    def __init__(self, dataset: AmodalDataset, *, boundary: bool = False) -> None:
        self._boundary = boundary
        super().__init__(dataset)

    def reset(self) -> None:
        super().reset()
        self._rows: dict[int, list[int]] = {}

    def records(self) -> NDArray[np.int64]:
        """The counts [M,len(COUNTS)] of the scored results so far, by annotation id."""
        rows = {**self._merged, **self._rows}
        return _array([rows[key] for key in sorted(rows)])

    def evaluate(self) -> CompletionTable:
        """The table over all scored instances of the data set; those without a prediction count 0."""
        rows = {**self._merged, **self._rows}
        counts = [rows.get(one.id) or _count(one, None, self._boundary) for one in self._scored()]
        return CompletionTable(self._dataset.category_names, _array(counts), boundary=self._boundary)

    def _take(self, instance: AmodalInstance, result: AmodalResult) -> None:
        if is_scored(instance):
            self._rows[instance.id] = _count(instance, result.segmentation, self._boundary)


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
