"""From matches of detections to the numbers of the instance track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.bootstrap import interval
from shape3d_amodal.evaluation.instance.matching import (
    IGNORED_ALWAYS,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    RECALL_THRESHOLDS,
    precision_and_recall,
)
from shape3d_amodal.evaluation.instance.metrics import (
    INSTANCE,
    KINDS,
    LEVEL_METRICS,
    LEVELS,
    METRICS,
    OCCLUSION_ACCURACY,
    OVER15_AP,
    SUBSETS,
)
from shape3d_amodal.evaluation.interface import Interval, Score, ScoreTable, scored_names
from shape3d_amodal.evaluation.means import mean

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

_READINGS = {
    "ap": ("all", slice(None)),
    "ap50": ("all", slice(0, 1)),
    "ap75": ("all", slice(5, 6)),
    "ap_small": ("small", slice(None)),
    "ap_medium": ("medium", slice(None)),
    "ap_large": ("large", slice(None)),
}
"""Average precisions: over which subset, at which thresholds."""
_RECALLS = {"ar1": 1, "ar10": 10, "ar100": 100}
_WITH_INTERVALS = {
    ("amodal", "all"): {"amodal_ap": slice(None), "amodal_ap50": slice(0, 1)},
    ("amodal", "over15"): {OVER15_AP.name: slice(None)},
    ("visible", "all"): {"visible_ap": slice(None)},
    ("occluded", "all"): {"occluded_ap": slice(None)},
}
"""The main metrics by kind and subset: at which thresholds."""


class _Ranking:
    """The detections of one kind and category by falling score, and its instances.

    Args:
        rows: [M,len(COLUMNS)] of one kind and category.
        images: the ids [I] of all images, rising.
    """

    def __init__(self, rows: NDArray[np.int64], images: NDArray[np.int64]) -> None:
        detections, self.instances = rows[rows[:, 3] == 1], rows[rows[:, 3] == 0]
        scores = detections[:, 5].copy().view(np.float64)
        self._ranked = detections[np.lexsort((detections[:, 4], detections[:, 0], -scores))]
        self._images = np.searchsorted(images, self._ranked[:, 0])
        self._homes = np.searchsorted(images, self.instances[:, 0])
        self._count = len(images)
        self._curves: dict[tuple[str, int], _Curve] = {}

    def curve(self, subset: str, most: int = MAX_DETECTIONS) -> _Curve:
        """What average precision and recall over a subset are read from.

        Args:
            most: detections of an image that are looked at.
        """
        if (subset, most) not in self._curves:
            column = COLUMNS.index(subset)
            outcomes = self._ranked[:, column]
            kept = (self._ranked[:, 4] < most) & (outcomes != IGNORED_ALWAYS)
            homes = self._homes[self.instances[:, column] > 0]
            positives = np.bincount(homes, minlength=self._count)
            self._curves[subset, most] = _Curve(outcomes[kept], self._images[kept], positives)
        return self._curves[subset, most]


@dataclass(frozen=True)
class _Curve:
    """What decides on the precision and the recall of a set of instances.

    Attributes:
        outcomes: [D] of the detections by falling score.
        images: [D] place of each one's image.
        positives: [I] instances of each image that count.
    """

    outcomes: NDArray[np.int64]
    images: NDArray[np.int64]
    positives: NDArray[np.int64]

    def read(self, times: NDArray[np.int64] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average precision and recall at each threshold [10]; NaN without an instance that counts.

        Args:
            times: how often each image counts [I]; once by default.
        """
        times = np.ones_like(self.positives) if times is None else times
        positives = int(self.positives @ times)
        if positives == 0:
            return np.full(len(IOU_THRESHOLDS), np.nan), np.full(len(IOU_THRESHOLDS), np.nan)
        result: tuple[NDArray[np.float64], NDArray[np.float64]] = precision_and_recall(
            self.outcomes, self.images, times, positives, len(IOU_THRESHOLDS), RECALL_THRESHOLDS
        )
        return result


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
        self.names = scored_names(names, rows[(self.column("detection") == 0) & (self.column("all") > 0), 2].tolist())

    def column(self, name: str) -> NDArray[np.int64]:
        """One column [M] of the rows, by its name in ``COLUMNS``."""
        return self.rows[:, COLUMNS.index(name)]

    @cached_property
    def score(self) -> Score:
        own = [score.values for score in self._by_category.values()]
        values = {name: mean(np.array([values[name] for values in own])) for name in METRICS}
        values[OCCLUSION_ACCURACY.name] = _accuracy(self._instances())
        return Score(counts=self._counts(self._instances()), values=values)

    def by_category(self) -> dict[str, Score]:
        return dict(self._by_category)

    def by_level(self) -> dict[str, Score]:
        """Average precision and recall of the amodal masks of each level; detections as in ``OVER15_AP``."""
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
        """95 % intervals of the main metrics, over images drawn with replacement."""
        rng = np.random.default_rng(seed)
        count = len(self._images)
        wanted = {key: own for key, own in _WITH_INTERVALS.items() if self._given(key[0])}
        drawn: dict[str, list[list[float]]] = {metric: [] for own in wanted.values() for metric in own}
        for _ in range(samples):
            times = np.bincount(rng.integers(0, count, count), minlength=count)
            for (kind, subset), own in wanted.items():
                read = [self._rankings[kind, key].curve(subset).read(times)[0] for key in self.names]
                for metric, places in own.items():
                    drawn[metric].append([float(averages[places].mean()) for averages in read])
        result = {}
        for metric, rows in drawn.items():
            values = np.array(rows)  # [samples,categories]; a category may have no instance in a drawing
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
    def _rankings(self) -> dict[tuple[str, int], _Ranking]:
        kinds, categories = self.column("kind"), self.column("category_id")
        return {
            (kind, key): _Ranking(self.rows[(kinds == number) & (categories == key)], self._images)
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
            values[OVER15_AP.name] = float(self._rankings["amodal", key].curve("over15").read()[0].mean())
            instances = self._rankings["amodal", key].instances
            values[OCCLUSION_ACCURACY.name] = _accuracy(instances)
            result[name] = Score(counts=self._counts(instances), values=values)
        return result

    def _values(self, kind: str, key: int, subset: str = "all") -> dict[str, float]:
        """All metrics of a kind and category; ``subset`` takes the place of "all"."""
        if not self._given(kind):
            return {f"{kind}_{name}": float("nan") for name in (*_READINGS, *_RECALLS)}
        ranking = self._rankings[kind, key]
        values = {}
        for name, (own, places) in _READINGS.items():
            averages, _ = ranking.curve(subset if own == "all" else own).read()
            values[f"{kind}_{name}"] = float(averages[places].mean())
        for name, most in _RECALLS.items():
            values[f"{kind}_{name}"] = float(ranking.curve(subset, most).read()[1].mean())
        return values

    def _given(self, kind: str) -> bool:
        """Whether the method states masks of this kind; one that finds nothing at all is scored in all."""
        detection = self.column("detection") == 1
        return not detection.any() or bool((detection & (self.column("kind") == KINDS.index(kind))).any())

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
