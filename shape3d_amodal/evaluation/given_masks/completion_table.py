"""From pixel counts of instances to the numbers of the completion track."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.bootstrap import interval, stratified_means
from shape3d_amodal.evaluation.interface import Interval, Score, ScoreTable, scored_names
from shape3d_amodal.evaluation.means import mean
from shape3d_amodal.evaluation.metrics import (
    BOUNDARY_MIOU,
    COMPLETION,
    INSTANCE_MIOU,
    INSTANCE_OCCLUDED_MIOU,
    METRICS,
    MICRO_MIOU,
    MIOU,
    OCCLUDED_MIOU,
    iou_of_counts,
    micro_iou,
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
"""The columns of an instance's counts; areas are in pixels."""

LEVELS = {"none": (-math.inf, 0.01), "partial": (0.01, 0.25), "heavy": (0.25, math.inf)}
"""Occlusion levels: low < |A \\ V| / |A| <= high.

The limits are those of Zhu et al. (Semantic Amodal Segmentation, CVPR 2017), but for 1 % instead of 0, so that single
pixels of two differently rasterised masks do not make an object occluded.
"""


class CompletionTable(ScoreTable):
    """The scores of one method on one data set.

    Args:
        names: category names by id; those without an instance are left out.
        counts: [N,len(COUNTS)] int64, a row an instance.
        boundary: whether boundary bands were counted.
    """

    protocol = COMPLETION

    def __init__(self, names: Mapping[int, str], counts: NDArray[np.int64], *, boundary: bool = False) -> None:
        self.counts = counts
        self.boundary = boundary
        self.metrics = tuple(metric for metric in METRICS.values() if boundary or metric is not BOUNDARY_MIOU)
        self.names = scored_names(names, self.column("category_id").tolist())

    def column(self, name: str) -> NDArray[np.int64]:
        """One column [N] of the counts, by its name in ``COUNTS``."""
        return self.counts[:, COUNTS.index(name)]

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """IoU of every instance [N]; 0 without a prediction."""
        return self._iou("shared", "prediction", "amodal")

    @cached_property
    def occluded_iou(self) -> NDArray[np.float64]:
        """IoU outside the visible mask of every instance [N]; NaN where nothing is hidden."""
        scores = self._iou("hidden_shared", "hidden_prediction", "hidden")
        return np.where(self.column("hidden") > 0, scores, np.nan)

    @cached_property
    def boundary_iou(self) -> NDArray[np.float64]:
        """Boundary IoU of every instance [N]; NaN where boundaries were not counted."""
        scores = self._iou("boundary_shared", "boundary_prediction", "boundary_amodal")
        return scores if self.boundary else np.full_like(scores, np.nan)

    @cached_property
    def hidden_share(self) -> NDArray[np.float64]:
        """|A \\ V| / |A| of every instance [N]; 0 for an empty amodal mask."""
        return self.column("hidden") / np.maximum(self.column("amodal"), 1)

    @cached_property
    def score(self) -> Score:
        """The means over all instances."""
        hidden = self.column("hidden") > 0
        counts = {
            "instances": len(self.counts),
            "missing": int((self.column("predicted") == 0).sum()),
            "hidden_instances": int(hidden.sum()),
        }
        values = {
            MIOU.name: self._category_mean(self.iou),
            OCCLUDED_MIOU.name: self._category_mean(self.occluded_iou),
            INSTANCE_MIOU.name: mean(self.iou),
            INSTANCE_OCCLUDED_MIOU.name: mean(self.occluded_iou),
            MICRO_MIOU.name: micro_iou(self.column("shared"), self.column("prediction"), self.column("amodal")),
        }
        if self.boundary:
            values[BOUNDARY_MIOU.name] = self._category_mean(self.boundary_iou)
        return Score(counts=counts, values=values)

    def by_category(self) -> dict[str, Score]:
        """The scores of every category that has instances, in the data set's order."""
        own = self.column("category_id")
        return {name: self._select(own == key).score for key, name in self.names.items()}

    def by_level(self) -> dict[str, Score]:
        """The scores of the instances of every occlusion level (``LEVELS``), also of empty ones."""
        share = self.hidden_share
        return {name: self._select((share > low) & (share <= high)).score for name, (low, high) in LEVELS.items()}

    def _without(self, categories: list[int]) -> CompletionTable:
        return self._select(~np.isin(self.column("category_id"), categories))

    def intervals(self, *, samples: int = 1000, seed: int = 0) -> dict[str, dict[str, Interval]]:
        """95 % bootstrap intervals over instances, drawn with replacement within each category.

        Args:
            samples: number of resamplings.
            seed: the same seed gives the same intervals.

        Returns:
            By metric ("miou", "occluded_miou", and "boundary_miou" where counted), then by category name, and "mean"
            for the mean over categories.
        """
        values = {"miou": self.iou, "occluded_miou": self.occluded_iou}
        if self.boundary:
            values["boundary_miou"] = self.boundary_iou
        result = {}
        for metric, scores in values.items():
            means = stratified_means(scores, self.column("category_id"), samples, seed)
            rows = {name: means[key] for key, name in self.names.items()}
            defined = [row for row in rows.values() if not np.isnan(row).any()]
            rows["mean"] = np.mean(defined, axis=0) if defined else np.full(samples, np.nan)
            result[metric] = {name: interval(row) for name, row in rows.items()}
        return result

    def instances(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        known = {MIOU.name: self.iou, OCCLUDED_MIOU.name: self.occluded_iou}
        return (known[metric], self.column("category_id")) if metric in known else None

    def ids(self) -> NDArray[np.int64]:
        return self.column("annotation_id")

    def levels(self) -> dict[str, str]:
        return {name: f"hidden share > {low:g} and <= {high:g}" for name, (low, high) in LEVELS.items()}

    def _select(self, rows: NDArray[np.bool_]) -> CompletionTable:
        return CompletionTable(self.names, self.counts[rows], boundary=self.boundary)

    def _iou(self, shared: str, prediction: str, target: str) -> NDArray[np.float64]:
        scores = iou_of_counts(self.column(shared), self.column(prediction), self.column(target))
        return np.where(self.column("predicted") > 0, scores, 0.0)

    def _category_mean(self, values: NDArray[np.float64]) -> float:
        own = self.column("category_id")
        return mean(np.array([mean(values[own == key]) for key in self.names]))
