"""The multimodal track: several plausible amodal masks of each instance, as IMLE and other generators give.

Where results of an annotation say their chance, they are its masks, and the one without is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult, answers
from shape3d_amodal.evaluation.given_masks.evaluator import GivenMasksEvaluator
from shape3d_amodal.evaluation.given_masks.pixels import common_window
from shape3d_amodal.evaluation.interface import Score
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric, by_name, iou, iou_of_counts, occluded_iou
from shape3d_amodal.structures import AmodalInstance, Rle

MULTIMODAL = "multimodal: visible masks given, N masks P1..PN an annotation id, those without any count 0"
"""The protocol tag of the multimodal track; compare methods of equal N."""

BINS = 10
"""Bins of the calibration error."""

_OURS = "our definition; the IMLE amodal poster shows samples and gives no numbers"
_MEANS = "mean over categories of the mean over instances of "
METRICS = by_name(
    Metric("best_miou", "best-of-N mIoU", f"{_MEANS}max_i IoU(Pi, A)", MULTIMODAL, _OURS),
    Metric("sample_miou", "mean mIoU", f"{_MEANS}mean_i IoU(Pi, A)", MULTIMODAL, _OURS),
    Metric("consensus_miou", "mIoU of the mean", f"{_MEANS}IoU(M > 1/2, A) with M = mean_i Pi", MULTIMODAL, _OURS),
    Metric(
        "best_occluded_miou",
        "best-of-N occluded mIoU",
        f"{_MEANS}max_i |(Pi ∩ A) \\ V| / |(Pi ∪ A) \\ V|, instances with |A \\ V| > 0",
        MULTIMODAL,
        _OURS,
    ),
    Metric(
        "diversity",
        "diversity",
        f"{_MEANS}mean_{{i<j}} (1 - IoU(Pi, Pj)), instances with two or more masks",
        MULTIMODAL,
        _OURS,
    ),
    Metric(
        "calibration_error",
        "calibration error",
        f"Σ_b |Σ_{{x in b}} (A(x) - M(x))| / Σ_b |b|, M = mean_i Pi, pixels x outside V in the box of V and all Pi "
        f"in {BINS} bins b of M of equal width, pooled over instances",
        MULTIMODAL,
        "expected calibration error of Guo et al. (ICML 2017), of pixels",
        higher_is_better=False,
    ),
)
"""The metrics of the multimodal track by their names."""

_VALUES = ("best_miou", "sample_miou", "consensus_miou", "best_occluded_miou", "diversity")
COLUMNS = ("annotation_id", "category_id", "samples", *_VALUES)
"""The first columns of an instance's row; behind them, for each bin of M: the number of its pixels, ΣM and ΣA."""


class MultimodalTable(MeanTable):
    """The scores of one method.

    Args:
        names: category names by id; those without an instance are left out.
        rows: [N,len(COLUMNS) + 3 BINS] float64, a row for each instance.
    """

    def __init__(self, names: Mapping[int, str], rows: NDArray[np.float64]) -> None:
        self.rows = rows
        values = {name: rows[:, COLUMNS.index(name)] for name in _VALUES}
        categories = rows[:, 1].astype(np.int64)
        super().__init__(MULTIMODAL, tuple(METRICS.values()), names, categories, values, rows[:, 2] == 0)

    def _complete(self, score: Score, rows: NDArray[np.bool_]) -> Score:
        bins = self.rows[rows, len(COLUMNS) :].reshape(-1, BINS, 3).sum(axis=0)
        pixels = bins[:, 0].sum()
        error = float(np.abs(bins[:, 2] - bins[:, 1]).sum() / pixels) if pixels else float("nan")
        counts = {**score.counts, "samples": int(self.rows[rows, 2].sum())}
        return Score(counts=counts, values={**score.values, "calibration_error": error})

    def _select(self, rows: NDArray[np.bool_]) -> MultimodalTable:
        return MultimodalTable(self.names, self.rows[rows])


class MultimodalEvaluator(GivenMasksEvaluator):
    """Best of N, diversity and calibration."""

    several: ClassVar[bool] = True
    row_length: ClassVar[int] = len(COLUMNS) + 3 * BINS
    dtype: ClassVar[type] = np.float64

    def evaluate(self) -> MultimodalTable:
        """The table over all scored instances; those without a mask count 0 and have no diversity."""
        return MultimodalTable(self._dataset.category_names, self._stack(self._scored()))

    def _score(self, number: int, results: Sequence[AmodalResult]) -> NDArray[np.float64]:
        _, instance = self._annotations[number]
        samples = [result.segmentation for result in answers(results)]
        row = [number, instance.category_id, len(samples), *_values(instance, samples)]
        return np.array([row], np.float64)


def _values(instance: AmodalInstance, samples: list[Rle]) -> list[float]:
    """The values of an instance in the order of ``_VALUES``, then those of its bins."""
    assert instance.amodal is not None, "only instances with an amodal mask are scored"
    if not samples:
        hidden = masks.area(masks.subtract(instance.amodal, instance.visible)) > 0
        return [0.0, 0.0, 0.0, 0.0 if hidden else np.nan, np.nan, *[0.0] * (3 * BINS)]
    amodal, visible, *decoded = common_window([instance.amodal, instance.visible, *samples])
    ious = [iou(sample, amodal) for sample in decoded]
    occluded = [occluded_iou(sample, amodal, visible) for sample in decoded]
    votes = np.stack(decoded).sum(axis=0, dtype=np.int64)
    consensus = iou(2 * votes > len(samples), amodal)
    values = [max(ious), float(np.mean(ious)), consensus, max(occluded), _diversity(samples)]
    return [*values, *_calibration(votes, len(samples), amodal, visible)]


def _diversity(samples: list[Rle]) -> float:
    if len(samples) < 2:
        return float("nan")
    areas = [masks.area(sample) for sample in samples]
    pairs = list(combinations(range(len(samples)), 2))
    shared = [masks.overlap(samples[i], samples[j]) for i, j in pairs]
    return float(1 - iou_of_counts(shared, [areas[i] for i, _ in pairs], [areas[j] for _, j in pairs]).mean())


def _calibration(
    votes: NDArray[np.int64], count: int, amodal: NDArray[np.bool_], visible: NDArray[np.bool_]
) -> list[float]:
    """For each bin its number of pixels, the sum of their shares of votes, and how many of them are true.

    Args:
        votes: [H,W], the number of masks that contain each pixel.
        count: the number of masks.
        amodal, visible: [H,W], the true masks.
    """
    box = (votes > 0) | visible
    if not box.any():
        return [0.0] * (3 * BINS)
    (top, bottom), (left, right) = ((np.flatnonzero(box.any(axis=1 - axis))[[0, -1]]) for axis in (0, 1))
    window = np.s_[top : bottom + 1, left : right + 1]
    outside = ~visible[window]
    votes, true = votes[window][outside], amodal[window][outside]
    bins = np.minimum(votes * BINS // count, BINS - 1)
    sums = [np.bincount(bins, weights, BINS) for weights in (np.ones(len(bins)), votes / count, true)]
    return [float(value) for value in np.stack(sums, axis=1).ravel()]
