"""The completion track: visible masks are given, and each scored instance has one predicted amodal mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.evaluation.given_masks.completion_table import BOUNDARY_DILATION, COUNTS, CompletionTable
from shape3d_amodal.evaluation.given_masks.evaluator import GivenMasksEvaluator
from shape3d_amodal.evaluation.given_masks.pixels import band, tally
from shape3d_amodal.structures import AmodalDataset, Rle


class CompletionEvaluator(GivenMasksEvaluator):
    """Scores amodal masks by pixel counts (``COUNTS``), which are integers, so that merging workers is exact.

    Args:
        dataset: the ground truth.
        boundary: also count the boundary bands, which takes several times as long.
    """

    row_length: ClassVar[int] = len(COUNTS)

    def __init__(self, dataset: AmodalDataset, *, boundary: bool = False) -> None:
        super().__init__(dataset)
        self._boundary = boundary

    def evaluate(self) -> CompletionTable:
        """The table over all scored instances; those without a prediction count 0."""
        counts = self._stack(self._scored())
        return CompletionTable(self._dataset.category_names, counts, boundary=self._boundary)

    def _score(self, number: int, results: Sequence[AmodalResult]) -> NDArray[np.int64]:
        _, instance = self._annotations[number]
        assert instance.amodal is not None, "only instances with an amodal mask are scored"
        prediction = results[0].segmentation if results else None
        amodal, visible = masks.runs(instance.amodal), masks.runs(instance.visible)
        mask = np.array([amodal.sum()]) if prediction is None else masks.runs(prediction)
        # Indices: in the prediction, in the amodal mask, in the visible mask.
        inside = tally(mask, amodal, visible).reshape(2, 2, 2).transpose(2, 1, 0)
        edges = _count_edges(instance.amodal, prediction) if self._boundary else [0, 0, 0]
        areas = [inside[1].sum(), inside[:, 1].sum(), inside[1, 1].sum()]
        hidden = [inside[1, :, 0].sum(), inside[:, 1, 0].sum(), inside[1, 1, 0]]
        row = [instance.id, instance.category_id, prediction is not None, *areas, *hidden, *edges]
        return np.array([row], np.int64)


def _count_edges(amodal: Rle, prediction: Rle | None) -> list[int]:
    """|Pd|, |Ad| and |Pd ∩ Ad| of the boundary bands."""
    height, width = amodal.height, amodal.width
    reach = max(1, round(BOUNDARY_DILATION * float(np.hypot(height, width))))
    true = band(masks.runs(amodal), height, width, reach)
    found = np.zeros_like(true) if prediction is None else band(masks.runs(prediction), height, width, reach)
    return [int(np.count_nonzero(pixels)) for pixels in (found, true, found & true)]
