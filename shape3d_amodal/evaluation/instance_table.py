"""From matches of detections to the numbers of the instance track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.errors import UsageError
from shape3d_amodal.evaluation.bootstrap import interval
from shape3d_amodal.evaluation.instance_metrics import (
    INSTANCE,
    KINDS,
    LEVEL_METRICS,
    LEVELS,
    METRICS,
    OCCLUSION_ACCURACY,
    OVER15_AP,
    SUBSETS,
)
from shape3d_amodal.evaluation.interface import Interval, Score, ScoreTable
from shape3d_amodal.evaluation.matching import RECALL_THRESHOLDS, precision_and_recall

FOUND = "found"
COLUMNS = (
    "image_id",
    "kind",  # place in KINDS
    "category_id",
    "detection",  # 1 a detection, 0 an instance
    "id",  # an instance's id; a detection's place by falling score in its image and category
    "score",  # the bits of a detection's score (float64)
    *SUBSETS,  # an instance: 1 if it counts; a detection: its outcomes (``matching.match``)
    FOUND,  # an instance: whether a detection took it at IoU 0.5 (0 none), and what of its occlusion label
)
"""The columns of the rows that workers hand on."""
WRONG, RIGHT, UNKNOWN = 1, 2, 3

_ALL_PLACES = np.arange(10)
_READINGS = {
    "ap": ("all", _ALL_PLACES),
    "ap50": ("all", _ALL_PLACES[:1]),
    "ap75": ("all", _ALL_PLACES[5:6]),
    "ap_small": ("small", _ALL_PLACES),
    "ap_medium": ("medium", _ALL_PLACES),
    "ap_large": ("large", _ALL_PLACES),
}
_RECALLS = {"ar1": 1, "ar10": 10, "ar100": 100}
_WITH_INTERVALS = ("amodal_ap", "amodal_ap50", "visible_ap", "occluded_ap", OVER15_AP.name)


@dataclass(frozen=True)
class _Ranking:
    """The detections of one kind and category by falling score, and its instances.

    Attributes:
        detections: rows [D,len(COLUMNS)].
        instances: rows [G,len(COLUMNS)].
    """

    detections: NDArray[np.int64]
    instances: NDArray[np.int64]

    def read(
        self, subset: str, places: NDArray[np.int64], most: int = 100, times: NDArray[np.int64] | None = None
    ) -> tuple[float, float]:
        """Average precision and recall over the thresholds ``places``; NaN without an instance that counts.

        Args:
            most: detections of an image that are looked at.
            times: how often each image counts, by its place in the table's images (``image_id`` replaced by it).
        """
        column = COLUMNS.index(subset)
        chosen = self.detections[self.detections[:, 4] < most]
        weights = np.ones(len(chosen)) if times is None else times[chosen[:, 0]].astype(np.float64)
        counts = self.instances[:, column]
        positives = int(counts.sum() if times is None else (counts * times[self.instances[:, 0]]).sum())
        if positives == 0:
            return float("nan"), float("nan")
        averages, recalls = precision_and_recall(
            np.ascontiguousarray(chosen[:, column]), weights, float(positives), places, RECALL_THRESHOLDS
        )
        return float(averages.mean()), float(recalls.mean())


class InstanceTable(ScoreTable):
    """The scores of one method on one data set.

    The number over everything is the mean over categories, as COCO's, but for the occlusion accuracy, which is the
    share over all matched instances. Visible and occluded masks are not scored (NaN) for a method that states none.

    Args:
        names: category names by id; those without an instance that counts are left out.
        rows: [M,len(COLUMNS)] int64.
    """

    protocol = INSTANCE
    metrics = tuple(METRICS.values())

    def __init__(self, names: Mapping[int, str], rows: NDArray[np.int64]) -> None:
        self.rows = rows
        present = set(rows[(self.column("detection") == 0) & (self.column("all") > 0), 2].tolist())
        self.names = {key: name for key, name in names.items() if key in present}

    def column(self, name: str) -> NDArray[np.int64]:
        """One column [M] of the rows, by its name in ``COLUMNS``."""
        return self.rows[:, COLUMNS.index(name)]

    @cached_property
    def score(self) -> Score:
        own = [score.values for score in self._by_category.values()]
        values = {name: _mean([values[name] for values in own]) for name in METRICS}
        values[OCCLUSION_ACCURACY.name] = _accuracy(self._instances())
        return Score(counts=self._counts(self._instances()), values=values)

    def by_category(self) -> dict[str, Score]:
        return dict(self._by_category)

    def by_level(self) -> dict[str, Score]:
        """Average precision and recall of the amodal masks of each level; detections as in ``OVER15_AP``."""
        result = {}
        for level in LEVELS:
            own = [self._values(self._rankings[0, key], "amodal", level) for key in self.names]
            values = {name: _mean([one[name] for one in own]) for name in LEVEL_METRICS}
            result[level] = Score(counts=self._counts(self._instances(), level), values=values)
        return result

    def levels(self) -> dict[str, str]:
        return {level: str(SUBSETS[level]) for level in LEVELS}

    def without(self, *categories: str) -> InstanceTable:
        for name in categories:
            if name not in self.names.values():
                raise UsageError(f"category {name!r} is not scored; choose from {', '.join(self.names.values())}")
        dropped = [key for key, name in self.names.items() if name in categories]
        kept = {key: name for key, name in self.names.items() if key not in dropped}
        return InstanceTable(kept, self.rows[~np.isin(self.column("category_id"), dropped)])

    def intervals(self, *, samples: int = 1000, seed: int = 0) -> dict[str, dict[str, Interval]]:
        """95 % intervals of the main metrics, over images drawn with replacement."""
        images, places = np.unique(self.column("image_id"), return_inverse=True)
        table = InstanceTable(self.names, np.concatenate([places.reshape(-1, 1), self.rows[:, 1:]], axis=1))
        rng = np.random.default_rng(seed)
        drawn: dict[str, list[list[float]]] = {metric: [] for metric in _WITH_INTERVALS if self._given(metric)}
        for _ in range(samples):
            times = np.bincount(rng.integers(0, len(images), len(images)), minlength=len(images))
            for metric, rows in drawn.items():
                rows.append([table._main(metric, key, times) for key in self.names])
        result = {}
        for metric, rows in drawn.items():
            values = np.array(rows)  # [samples,categories]; a category may have no instance in a drawing
            columns = {**dict(zip(self.names.values(), values.T, strict=True)), "mean": _row_means(values)}
            result[metric] = {name: _interval(column) for name, column in columns.items()}
        return result

    @cached_property
    def _rankings(self) -> dict[tuple[int, int], _Ranking]:
        result = {}
        detection = self.column("detection") == 1
        for kind in range(len(KINDS)):
            for key in self.names:
                own = (self.column("kind") == kind) & (self.column("category_id") == key)
                rows = self.rows[own & detection]
                scores = rows[:, 5].copy().view(np.float64)
                order = np.lexsort((rows[:, 4], rows[:, 0], -scores))
                result[kind, key] = _Ranking(rows[order], self.rows[own & ~detection])
        return result

    @cached_property
    def _by_category(self) -> dict[str, Score]:
        result = {}
        for key, name in self.names.items():
            values: dict[str, float] = {}
            for number, kind in enumerate(KINDS):
                values |= self._values(self._rankings[number, key], kind, "all")
            values[OVER15_AP.name] = self._main(OVER15_AP.name, key)
            instances = self._rankings[0, key].instances
            values[OCCLUSION_ACCURACY.name] = _accuracy(instances)
            result[name] = Score(counts=self._counts(instances), values=values)
        return result

    def _values(self, ranking: _Ranking, kind: str, subset: str) -> dict[str, float]:
        """All metrics of a kind; ``subset`` takes the place of "all"."""
        if not self._given(f"{kind}_ap"):
            return {f"{kind}_{name}": float("nan") for name in (*_READINGS, *_RECALLS)}
        values = {}
        for name, (own, places) in _READINGS.items():
            values[f"{kind}_{name}"] = ranking.read(subset if own == "all" else own, places)[0]
        for name, most in _RECALLS.items():
            values[f"{kind}_{name}"] = ranking.read(subset, _ALL_PLACES, most)[1]
        return values

    def _main(self, metric: str, key: int, times: NDArray[np.int64] | None = None) -> float:
        """One of the metrics with intervals, of one category."""
        if metric == OVER15_AP.name:
            return self._rankings[0, key].read("over15", _ALL_PLACES, times=times)[0]
        kind, _, name = metric.partition("_")
        return self._rankings[KINDS.index(kind), key].read(*_READINGS[name], times=times)[0]

    def _given(self, metric: str) -> bool:
        """Whether the method states masks of the metric's kind; one that finds nothing at all is scored in all."""
        detection = self.column("detection") == 1
        kind = KINDS.index(metric.partition("_")[0])
        return not detection.any() or bool((detection & (self.column("kind") == kind)).any())

    def _instances(self) -> NDArray[np.int64]:
        return self.rows[(self.column("detection") == 0) & (self.column("kind") == 0)]

    def _counts(self, instances: NDArray[np.int64], subset: str = "all") -> dict[str, int]:
        """Over rows of amodal instances; missing are those that no detection took at IoU 0.5."""
        counted = instances[instances[:, COLUMNS.index(subset)] > 0]
        return {"instances": len(counted), "missing": int((counted[:, COLUMNS.index(FOUND)] == 0).sum())}


def _accuracy(instances: NDArray[np.int64]) -> float:
    found = instances[instances[:, COLUMNS.index("all")] > 0, COLUMNS.index(FOUND)]
    right, wrong = int((found == RIGHT).sum()), int((found == WRONG).sum())
    return right / (right + wrong) if right + wrong else float("nan")


def _mean(values: list[float]) -> float:
    """Mean of the defined values; NaN if there are none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([_mean(row) for row in values.tolist()])


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = interval(values[~np.isnan(values)]) if not np.isnan(values).all() else (float("nan"), float("nan"))
    return Interval(low=low, high=high)
