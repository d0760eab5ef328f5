"""Tables of means over rows that each belong to a category, such as instances or pairs of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.bootstrap import interval, stratified_means
from shape3d_amodal.evaluation.interface import Interval, Score, ScoreTable, scored_names
from shape3d_amodal.evaluation.metrics import Metric


class MeanTable(ScoreTable):
    """The means of each metric over rows, by category; the number over the whole data set is their mean.

    Args:
        protocol, metrics: as the attributes of ``ScoreTable``.
        names: category names by id; those without a row are left out.
        categories: [N] int64, the category id of each row.
        values: values [N] float64 by the name of the metric; NaN is undefined and left out of the means.
        missing: [N] bool, rows without a prediction.
        by_row: the number over the whole data set is the mean over rows, not over categories.
        medians: names of the metrics whose number of a category is the median of its rows; they have no intervals.
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
        self.categories, self.values, self.missing = categories, values, missing
        self.by_row, self.medians = by_row, medians

    @cached_property
    def score(self) -> Score:
        own = self.by_category().values()
        values = {
            name: mean(rows if self.by_row else np.array([score[name] for score in own]))
            for name, rows in self.values.items()
        }
        return self._counted(np.ones(len(self.missing), bool), values)

    def by_category(self) -> dict[str, Score]:
        result = {}
        for key, name in self.names.items():
            rows = self.categories == key
            values = {one: (median if one in self.medians else mean)(own[rows]) for one, own in self.values.items()}
            result[name] = self._counted(rows, values)
        return result

    def intervals(self, *, samples: int = 1000, seed: int = 0) -> dict[str, dict[str, Interval]]:
        """As in ``ScoreTable``; rows are drawn with replacement within each category."""
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
        if metric not in self.values or metric in self.medians or self.by_row:
            return None
        return self.values[metric], self.categories

    def _without(self, categories: list[int]) -> MeanTable:
        return self._select(~np.isin(self.categories, categories))

    def _counted(self, rows: NDArray[np.bool_], values: Mapping[str, float]) -> Score:
        counts = {"instances": int(rows.sum()), "missing": int(self.missing[rows].sum())}
        return self._complete(Score(counts=counts, values=values), rows)

    def _complete(self, score: Score, rows: NDArray[np.bool_]) -> Score:  # noqa: ARG002
        """The ``score`` of the chosen ``rows`` [N] with the numbers that are no means of rows; subclasses add them."""
        return score

    def _select(self, rows: NDArray[np.bool_]) -> MeanTable:
        """The table of the chosen ``rows`` [N] alone."""
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
    """Median of the defined values of [N]; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(np.median(defined)) if len(defined) else float("nan")


def mean(values: NDArray[np.float64]) -> float:
    """Mean of the defined values of [N]; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
