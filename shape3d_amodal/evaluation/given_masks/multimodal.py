"""The multimodal track: several plausible amodal masks of each instance, as IMLE and other generators give."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.evaluation.given_masks.pairing import MatchedEvaluator, is_scored
from shape3d_amodal.evaluation.given_masks.windows import common_window
from shape3d_amodal.evaluation.interface import Score
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric, iou, iou_of_counts, occluded_iou
from shape3d_amodal.structures import AmodalDataset, AmodalInstance, Rle

MULTIMODAL = "multimodal: visible masks given, N masks P1..PN an annotation id, those without any count 0"
"""The protocol tag of the multimodal track; compare methods of equal N."""

BINS = 10
"""Bins of the calibration error."""

_OURS = "our definition; the IMLE amodal poster shows samples and gives no numbers"
_MEANS = "mean over categories of the mean over instances of "
METRICS = {
    metric.name: metric
    for metric in (
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
}
"""Every metric of the multimodal track by its name."""

_VALUES = ("best_miou", "sample_miou", "consensus_miou", "best_occluded_miou", "diversity")
COLUMNS = ("annotation_id", "category_id", "samples", *_VALUES)
"""The first columns of an instance's row; then, for each bin of M, number of pixels, ΣM and ΣA."""


class MultimodalEvaluator(MatchedEvaluator):
    """Best of N, diversity and calibration; all results of an annotation go to one worker."""

    several = True

    def reset(self) -> None:
        super().reset()
        self._samples: dict[int, list[Rle]] = {}

    def records(self) -> NDArray[np.float64]:
        """Rows [M,len(COLUMNS) + 3 BINS] float64 of the instances with results, by annotation id."""
        return _array([self._row(one) for one in self._scored() if one.id in self._samples or one.id in self._merged])

    def evaluate(self) -> MultimodalTable:
        """The table over all scored instances; those without a mask count 0 and have no diversity."""
        rows = _array([self._row(instance) for instance in self._scored()])
        return MultimodalTable(self._dataset.category_names, rows)

    def _take(self, instance: AmodalInstance, result: AmodalResult) -> None:
        if is_scored(instance):
            self._samples.setdefault(instance.id, []).append(result.segmentation)

    def _row(self, instance: AmodalInstance) -> list[float]:
        return self._merged.get(instance.id) or _score(instance, self._samples.get(instance.id, []))


class MultimodalTable(MeanTable):
    """The scores of one method; ``rows`` [N,len(COLUMNS) + 3 BINS] float64."""

    def __init__(self, names: Mapping[int, str], rows: NDArray[np.float64]) -> None:
        self.rows = rows
        values = {name: rows[:, COLUMNS.index(name)] for name in _VALUES}
        categories = rows[:, 1].astype(np.int64)
        super().__init__(MULTIMODAL, tuple(METRICS.values()), names, categories, values, rows[:, 2] == 0)

    @cached_property
    def score(self) -> Score:
        return self._with_calibration(super().score, np.ones(len(self.rows), bool))

    def _category(self, key: int) -> Score:
        return self._with_calibration(super()._category(key), self.categories == key)

    def _with_calibration(self, score: Score, own: NDArray[np.bool_]) -> Score:
        bins = self.rows[own, len(COLUMNS) :].reshape(-1, BINS, 3).sum(axis=0)
        pixels = bins[:, 0].sum()
        error = float(np.abs(bins[:, 2] - bins[:, 1]).sum() / pixels) if pixels else float("nan")
        counts = {**score.counts, "samples": int(self.rows[own, 2].sum())}
        return Score(counts=counts, values={**score.values, "calibration_error": error})

    def _select(self, rows: NDArray[np.bool_]) -> MultimodalTable:
        return MultimodalTable(self.names, self.rows[rows])


def evaluate_multimodal(dataset: AmodalDataset, results: list[AmodalResult]) -> MultimodalTable:
    """Score ``results`` against ``dataset`` in one go."""
    evaluator = MultimodalEvaluator(dataset)
    evaluator.process(results)
    return evaluator.evaluate()


def _score(instance: AmodalInstance, samples: list[Rle]) -> list[float]:
    assert instance.amodal is not None
    hidden = masks.area(masks.subtract(instance.amodal, instance.visible)) > 0
    head = [float(instance.id), float(instance.category_id), float(len(samples))]
    if not samples:
        return [*head, 0.0, 0.0, 0.0, 0.0 if hidden else float("nan"), float("nan"), *[0.0] * (3 * BINS)]
    amodal, visible, *decoded = common_window([instance.amodal, instance.visible, *samples])
    ious = [iou(sample, amodal) for sample in decoded]
    occluded = [occluded_iou(sample, amodal, visible) for sample in decoded]
    votes = np.stack(decoded).sum(axis=0, dtype=np.int64)
    values = [
        max(ious),
        float(np.mean(ious)),
        iou(2 * votes > len(samples), amodal),
        max(occluded),
        _diversity(samples),
    ]
    return [*head, *values, *_calibration(votes, len(samples), amodal, visible)]


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
    """Pixels, sum of probabilities and of true pixels of each bin, bin by bin."""
    box = (votes > 0) | visible
    if not box.any():
        return [0.0] * (3 * BINS)
    (top, bottom), (left, right) = ((np.flatnonzero(box.any(axis=1 - axis))[[0, -1]]) for axis in (0, 1))
    window = np.s_[top : bottom + 1, left : right + 1]
    asked = ~visible[window]
    chosen, true = votes[window][asked], amodal[window][asked]
    bins = np.minimum(chosen * BINS // count, BINS - 1)
    sums = [np.bincount(bins, weights, BINS) for weights in (np.ones(len(bins)), chosen / count, true)]
    return [float(value) for value in np.stack(sums, axis=1).ravel()]


def _array(rows: list[list[float]]) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(-1, len(COLUMNS) + 3 * BINS)
