"""From matched detections to the numbers of the instance track."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.bootstrap import interval
from shape3d_amodal.evaluation.instance.average_precision import Ranking
from shape3d_amodal.evaluation.instance.image_rows import COLUMNS, FOUND, RIGHT, WRONG
from shape3d_amodal.evaluation.instance.metrics import INSTANCE, KINDS, LEVEL_METRICS, LEVELS, METRICS, SUBSETS
from shape3d_amodal.evaluation.interface import Interval, Score, ScoreTable, scored_names
from shape3d_amodal.evaluation.means import mean

_READINGS = {
    "ap": ("all", slice(None)),
    "ap50": ("all", slice(0, 1)),
    "ap75": ("all", slice(5, 6)),
    "ap_small": ("small", slice(None)),
    "ap_medium": ("medium", slice(None)),
    "ap_large": ("large", slice(None)),
}
"""The subset and the IoU thresholds (indices) of each average precision."""
_RECALLS = {"ar1": 1, "ar10": 10, "ar100": 100}
"""The number of detections of each average recall."""
_WITH_INTERVALS = {
    ("amodal", "all"): {"amodal_ap": slice(None), "amodal_ap50": slice(0, 1)},
    ("amodal", "over15"): {"amodal_ap_over15": slice(None)},
    ("visible", "all"): {"visible_ap": slice(None)},
    ("occluded", "all"): {"occluded_ap": slice(None)},
}
"""The main metrics by kind and subset, with their IoU thresholds (indices)."""


class InstanceTable(ScoreTable):
    """The scores of one method on one data set.

    The number over the whole data set is the mean over categories, as in COCO, except for the occlusion accuracy, which
    is the share over all matched instances. Visible and occluded masks of a method that states none are not scored
    (NaN).

    Args:
        names: category names by id; those without an instance that counts are left out.
        rows: [M,len(COLUMNS)] int64.
    """

    protocol = INSTANCE
    metrics = tuple(METRICS.values())

    def __init__(self, names: Mapping[int, str], rows: NDArray[np.int64]) -> None:
        self.rows = rows
        self.names = scored_names(names, rows[(self.column("detection") == 0) & (self.column("all") > 0), 2].tolist())

    def column(self, name: str) -> NDArray[np.int64]:
        """One column [M] of the rows, by its name in ``COLUMNS``."""
        return self.rows[:, COLUMNS.index(name)]

    @cached_property
    def score(self) -> Score:
        own = [score.values for score in self._by_category.values()]
        values = {name: mean(np.array([values[name] for values in own])) for name in METRICS}
        values["occlusion_accuracy"] = _accuracy(self._instances())
        return Score(counts=self._counts(self._instances()), values=values)

    def by_category(self) -> dict[str, Score]:
        return self._by_category

    def by_level(self) -> dict[str, Score]:
        """Average precision and recall of the amodal masks of each level, computed as ``amodal_ap_over15``."""
        result = {}
        for level in LEVELS:
            own = [self._values("amodal", key, level) for key in self.names]
            values = {name: mean(np.array([one[name] for one in own])) for name in LEVEL_METRICS}
            result[level] = Score(counts=self._counts(self._instances(), level), values=values)
        return result

    def levels(self) -> dict[str, str]:
        return {name: f"hidden share > {SUBSETS[name].low:g} and <= {SUBSETS[name].high:g}" for name in LEVELS}

    def _without(self, categories: list[int]) -> InstanceTable:
        return InstanceTable(self.names, self.rows[~np.isin(self.column("category_id"), categories)])

    def intervals(self, *, samples: int = 1000, seed: int = 0) -> dict[str, dict[str, Interval]]:
        """As in ``ScoreTable``; images are drawn with replacement."""
        rng = np.random.default_rng(seed)
        count = len(self._images)
        wanted = {key: own for key, own in _WITH_INTERVALS.items() if self._given(key[0])}
        drawn: dict[str, list[list[float]]] = {metric: [] for own in wanted.values() for metric in own}
        for _ in range(samples):
            times = np.bincount(rng.integers(0, count, count), minlength=count)
            for (kind, subset), own in wanted.items():
                read = [self._rankings[kind, key].read(subset, times=times)[0] for key in self.names]
                for metric, places in own.items():
                    drawn[metric].append([float(averages[places].mean()) for averages in read])
        result = {}
        for metric, rows in drawn.items():
            values = np.array(rows)  # [samples,categories]; NaN for a category without an instance in the drawn images
            columns = {
                **dict(zip(self.names.values(), values.T, strict=True)),
                "mean": np.array(list(map(mean, values))),
            }
            result[metric] = {name: interval(column[~np.isnan(column)]) for name, column in columns.items()}
        return result

    @cached_property
    def _images(self) -> NDArray[np.int64]:
        return np.unique(self.column("image_id"))

    @cached_property
    def _rankings(self) -> dict[tuple[str, int], Ranking]:
        kinds, categories = self.column("kind"), self.column("category_id")
        return {
            (kind, key): Ranking(self.rows[(kinds == number) & (categories == key)], self._images)
            for number, kind in enumerate(KINDS)
            for key in self.names
        }

    @cached_property
    def _by_category(self) -> dict[str, Score]:
        result = {}
        for key, name in self.names.items():
            values: dict[str, float] = {}
            for kind in KINDS:
                values |= self._values(kind, key)
            values["amodal_ap_over15"] = float(self._rankings["amodal", key].read("over15")[0].mean())
            instances = self._rankings["amodal", key].instances
            values["occlusion_accuracy"] = _accuracy(instances)
            result[name] = Score(counts=self._counts(instances), values=values)
        return result

    def _values(self, kind: str, key: int, subset: str = "all") -> dict[str, float]:
        """All metrics of a kind and a category; those over "all" are computed over ``subset`` instead."""
        if not self._given(kind):
            return {f"{kind}_{name}": float("nan") for name in (*_READINGS, *_RECALLS)}
        ranking = self._rankings[kind, key]
        values = {}
        for name, (own, places) in _READINGS.items():
            averages, _ = ranking.read(subset if own == "all" else own)
            values[f"{kind}_{name}"] = float(averages[places].mean())
        for name, most in _RECALLS.items():
            values[f"{kind}_{name}"] = float(ranking.read(subset, most=most)[1].mean())
        return values

    def _given(self, kind: str) -> bool:
        """Whether the method states masks of this kind; a method without any detection is scored in all kinds."""
        detection = self.column("detection") == 1
        return not detection.any() or bool((detection & (self.column("kind") == KINDS.index(kind))).any())

    def _instances(self) -> NDArray[np.int64]:
        return self.rows[(self.column("detection") == 0) & (self.column("kind") == 0)]

    def _counts(self, instances: NDArray[np.int64], subset: str = "all") -> dict[str, int]:
        """Counts of the rows of amodal instances; missing are those that no detection took at IoU 0.5."""
        counted = instances[instances[:, COLUMNS.index(subset)] > 0]
        return {"instances": len(counted), "missing": int((counted[:, COLUMNS.index(FOUND)] == 0).sum())}


def _accuracy(instances: NDArray[np.int64]) -> float:
    found = instances[instances[:, COLUMNS.index("all")] > 0, COLUMNS.index(FOUND)]
    right, wrong = int((found == RIGHT).sum()), int((found == WRONG).sum())
    return right / (right + wrong) if right + wrong else float("nan")
