"""The completion track: visible masks are given, and each scored instance has one predicted amodal mask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.evaluation.given_masks.evaluator import GivenMasksEvaluator
from shape3d_amodal.evaluation.given_masks.pixels import band, tally
from shape3d_amodal.evaluation.interface import Score
from shape3d_amodal.evaluation.means import MeanTable, mean
from shape3d_amodal.evaluation.metrics import Metric, by_name, iou_of_counts
from shape3d_amodal.structures import AmodalDataset, Rle

COMPLETION = "completion: visible masks given, matched by annotation id, missing predictions count 0"

BOUNDARY_DILATION = 0.02
"""Width of the boundary band as a share of the image's diagonal (Cheng et al., CVPR 2021)."""

METRICS = by_name(
    Metric(
        "miou",
        "mIoU",
        "mean over categories of the mean over instances of |P ∩ A| / |P ∪ A|",
        COMPLETION,
        "the 13-category ShapeNet table of A3D (ECCV 2022)",
    ),
    Metric(
        "occluded_miou",
        "occluded mIoU",
        "mean over categories of the mean over instances with |A \\ V| > 0 of |(P ∩ A) \\ V| / |(P ∪ A) \\ V|",
        COMPLETION,
        "mIoU_occ of C2F-Seg (ICCV 2023), which selects instances by a signed sum of A - V; here |A \\ V| > 0 selects "
        "them, so that visible pixels outside the amodal mask cannot cancel hidden ones; averaged by category first",
    ),
    Metric(
        "instance_miou",
        "mIoU_full",
        "mean over instances of |P ∩ A| / |P ∪ A|",
        COMPLETION,
        "mIoU_full of C2F-Seg (ICCV 2023)",
    ),
    Metric(
        "instance_occluded_miou",
        "mIoU_occ",
        "mean over instances with |A \\ V| > 0 of |(P ∩ A) \\ V| / |(P ∪ A) \\ V|",
        COMPLETION,
        "mIoU_occ of C2F-Seg (ICCV 2023) with instances selected by |A \\ V| > 0 instead of a signed sum",
    ),
    Metric(
        "micro_miou",
        "micro mIoU",
        "Σ |P ∩ A| / Σ |P ∪ A| over all instances",
        COMPLETION,
        "mIoU of PCNet-M (Zhan et al., CVPR 2020)",
    ),
    Metric(
        "boundary_miou",
        "boundary mIoU",
        "mean over categories of the mean over instances of |Pd ∩ Ad| / |Pd ∪ Ad|, where Xd is X less its erosion by "
        f"{BOUNDARY_DILATION:g} of the image's diagonal",
        COMPLETION,
        "boundary IoU of Cheng et al. (CVPR 2021), averaged by category",
    ),
)
COUNTS = (
    "annotation_id",
    "category_id",
    "predicted",  # 1 if there is a prediction
    "prediction",  # |P|
    "amodal",  # |A|
    "shared",  # |P ∩ A|
    "hidden_prediction",  # |P \ V|
    "hidden",  # |A \ V|
    "hidden_shared",  # |(P ∩ A) \ V|
    "boundary_prediction",  # |Pd|; the three are 0 where boundaries are not counted
    "boundary_amodal",  # |Ad|
    "boundary_shared",  # |Pd ∩ Ad|
)
"""The columns of an instance's row; areas are in pixels."""

LEVELS = {"none": (-math.inf, 0.01), "partial": (0.01, 0.25), "heavy": (0.25, math.inf)}
"""Occlusion levels: low < |A \\ V| / |A| <= high.

The limits are those of Zhu et al. (Semantic Amodal Segmentation, CVPR 2017), but for 1 % instead of 0, so that single
pixels of two differently rasterised masks do not make an object occluded.
"""


class CompletionTable(MeanTable):
    """The scores of one method on one data set.

    Args:
        names: category names by id; those without an instance are left out.
        counts: [N,len(COUNTS)] int64, a row for each instance.
        boundary: whether boundary bands were counted.

    Attributes:
        iou: [N] float64, the IoU of each instance; 0 without a prediction.
        occluded_iou: [N] float64, the IoU outside the visible mask; NaN where nothing is hidden.
        hidden_share: [N] float64, |A \\ V| / |A|; 0 for an empty amodal mask.
    """

    def __init__(self, names: Mapping[int, str], counts: NDArray[np.int64], *, boundary: bool = False) -> None:
        self.counts, self.boundary = counts, boundary
        self.iou = self._iou("shared", "prediction", "amodal")
        hidden = self.column("hidden")
        occluded = self._iou("hidden_shared", "hidden_prediction", "hidden")
        self.occluded_iou = np.where(hidden > 0, occluded, np.nan)
        self.hidden_share = hidden / np.maximum(self.column("amodal"), 1)
        values = {"miou": self.iou, "occluded_miou": self.occluded_iou}
        if boundary:
            values["boundary_miou"] = self._iou("boundary_shared", "boundary_prediction", "boundary_amodal")
        metrics = tuple(metric for metric in METRICS.values() if boundary or metric.name != "boundary_miou")
        missing = self.column("predicted") == 0
        super().__init__(COMPLETION, metrics, names, self.column("category_id"), values, missing)

    def column(self, name: str) -> NDArray[np.int64]:
        """One column [N] of the counts, by its name in ``COUNTS``."""
        return self.counts[:, COUNTS.index(name)]

    def by_level(self) -> dict[str, Score]:
        share = self.hidden_share
        return {name: self._select((share > low) & (share <= high)).score for name, (low, high) in LEVELS.items()}

    def levels(self) -> dict[str, str]:
        return {name: f"hidden share > {low:g} and <= {high:g}" for name, (low, high) in LEVELS.items()}

    def ids(self) -> NDArray[np.int64]:
        return self.column("annotation_id")

    def _complete(self, score: Score, rows: NDArray[np.bool_]) -> Score:
        sums = dict(zip(COUNTS, self.counts[rows].sum(axis=0), strict=True))
        micro = iou_of_counts(sums["shared"], sums["prediction"], sums["amodal"]) if rows.any() else math.nan
        values = {
            **score.values,
            "instance_miou": mean(self.iou[rows]),
            "instance_occluded_miou": mean(self.occluded_iou[rows]),
            "micro_miou": float(micro),
        }
        counts = {**score.counts, "hidden_instances": int((self.column("hidden")[rows] > 0).sum())}
        return Score(counts=counts, values={metric.name: values[metric.name] for metric in self.metrics})

    def _select(self, rows: NDArray[np.bool_]) -> CompletionTable:
        return CompletionTable(self.names, self.counts[rows], boundary=self.boundary)

    def _iou(self, shared: str, prediction: str, target: str) -> NDArray[np.float64]:
        scores = iou_of_counts(self.column(shared), self.column(prediction), self.column(target))
        return np.where(self.column("predicted") > 0, scores, 0.0)


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
