"""Tables of means over rows that each have a category: instances, or pairs of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.bootstrap import interval, stratified_means
from shape3d_amodal.evaluation.interface import Interval, Score, ScoreTable, scored_names
from shape3d_amodal.evaluation.metrics import Metric


class MeanTable(ScoreTable):
    """The means of each metric over rows; the number over everything is the mean over categories, or over rows.

    Args:
        protocol, metrics: as the table's attributes.
        names: category names by id; those without a row are left out.
        categories: [N] int64, the category of each row.
        values: [N] float64 by the name of a metric; NaN where undefined, which is no part of the mean.
        missing: [N] bool, rows without a prediction.
        by_row: the number over everything is the mean over rows.
        medians: metrics of which a category's number is the median over its rows; they have no intervals.
    """

    def __init__(
        self,
        protocol: str,
        metrics: tuple[Metric, ...],
        names: Mapping[int, str],
        categories: NDArray[np.int64],
        values: Mapping[str, NDArray[np.float64]],
        missing: NDArray[np.bool_],
        *,
        by_row: bool = False,
        medians: tuple[str, ...] = (),
    ) -> None:
        self.protocol, self.metrics = protocol, metrics
        self.names = scored_names(names, categories.tolist())
        self.categories, self.values, self.missing, self.by_row = categories, values, missing, by_row
        self.medians = medians

    @cached_property
    def score(self) -> Score:
        by_row = {name: mean(values) for name, values in self.values.items()}
        own = [self._category(key) for key in self.names]
        by_category = {name: mean(np.array([score[name] for score in own])) for name in self.values}
        return Score(
            counts=self._counts(np.ones(len(self.missing), bool)), values=by_row if self.by_row else by_category
        )

    def by_category(self) -> dict[str, Score]:
        return {name: self._category(key) for key, name in self.names.items()}

    def by_level(self) -> dict[str, Score]:
        return {}

    def _without(self, categories: list[int]) -> MeanTable:
        return self._select(~np.isin(self.categories, categories))

    def intervals(self, *, samples: int = 1000, seed: int = 0) -> dict[str, dict[str, Interval]]:
        """95 % intervals over rows, drawn with replacement within each category."""
        result = {}
        for metric, values in self.values.items():
            if metric in self.medians:
                continue
            means = stratified_means(values, self.categories, samples, seed)
            rows = {name: means[key] for key, name in self.names.items()}
            counts = [int((~np.isnan(values[self.categories == key])).sum()) for key in self.names]
            defined = [row for row, count in zip(rows.values(), counts, strict=True) if count]
            weights = [count for count in counts if count] if self.by_row else None
            whole = np.average(defined, axis=0, weights=weights) if defined else np.full(samples, np.nan)
            result[metric] = {name: interval(row) for name, row in {**rows, "mean": whole}.items()}
        return result

    def instances(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        if metric in self.medians or self.by_row:
            return None
        return self.values[metric], self.categories

    def _category(self, key: int) -> Score:
        own = self.categories == key
        values = {name: (median if name in self.medians else mean)(values[own]) for name, values in self.values.items()}
        return Score(counts=self._counts(own), values=values)

    def _counts(self, rows: NDArray[np.bool_]) -> dict[str, int]:
        return {"instances": int(rows.sum()), "missing": int(self.missing[rows].sum())}

    def _select(self, rows: NDArray[np.bool_]) -> MeanTable:
        return MeanTable(
            self.protocol,
            self.metrics,
            self.names,
            self.categories[rows],
            {name: values[rows] for name, values in self.values.items()},
            self.missing[rows],
            by_row=self.by_row,
            medians=self.medians,
        )


def median(values: NDArray[np.float64]) -> float:
    """Median of the defined values; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(np.median(defined)) if len(defined) else float("nan")


def mean(values: NDArray[np.float64]) -> float:
    """Mean of the defined values; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
