"""The margin of a method over the best of some others, by category and in the mean, with confidence intervals.

Two methods are scored on the same instances, so the interval is that of the mean of their paired differences. It is
narrower than the intervals of the two means, since an instance that is hard for one method is often hard for the other
one. If the meshes of the instances are known, meshes are resampled instead of instances: twenty views of one chair say
little about other chairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.benchmarking.config import MarginConfig
from shape3d_amodal.evaluation.bootstrap import interval, stratified_means
from shape3d_amodal.evaluation.interface import Interval, ScoreTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import Table, means_of

_SAMPLES = 1000


@dataclass(frozen=True)
class Margin:
    """The margin in one category, or in a mean over categories.

    Attributes:
        label: the category or the mean.
        other: name of the best of the others; empty if there are no others.
        own, best: the two numbers in percent; without others the best is 0.
        interval: 95 % bootstrap interval of their difference, in percentage points; NaN where it is of one object a
            category, which says nothing.
        mean: whether it is a mean over categories.
    """

    label: str
    other: str
    own: float
    best: float
    interval: Interval
    mean: bool = False

    @property
    def points(self) -> float:
        return self.own - self.best


Compared = list[tuple[Metric, list[Margin]]]
"""The margins of a method over others, by metric."""


def margins(
    tables: Mapping[str, ScoreTable],
    of: str,
    over: tuple[str, ...],
    metric: Metric,
    *,
    without: tuple[str, ...] = (),
    meshes: Mapping[int, str] | None = None,
) -> list[Margin]:
    """The margins in all categories, in the mean, and in the mean without some categories.

    Each row compares the method with the one of the others that is the best there. Undefined rows are left out.

    Args:
        tables: the scores of the methods by name.
        of: name of the method.
        over: names of the others; none gives the method's own numbers.
        metric: the metric that is compared, a share of which the highest number is the best.
        without: categories that a second mean leaves out; none makes no second mean.
        meshes: the mesh of each instance by annotation id, to resample meshes; None resamples instances.
    """
    clusters = _clusters(tables[of], meshes or {})
    sides = {name: tables[name] for name in (of, *over)}
    rows: list[Margin] = []

    def add(label: str, numbers: Mapping[str, float], categories: list[int], *, mean: bool = False) -> None:
        """Add the row of some categories, unless a side has no number; ``numbers`` are those of the methods."""
        defined = {name: number for name, number in numbers.items() if not np.isnan(number)}
        others = {name: defined[name] for name in over if name in defined}
        if of not in defined or (over and not others):
            return
        best = max(others, key=lambda name: others[name], default="")
        found = _interval(tables[of], tables.get(best), metric.name, categories, clusters)
        rows.append(Margin(label, best, 100 * defined[of], 100 * others.get(best, 0.0), found, mean))

    scores = {name: table.by_category() for name, table in sides.items()}
    for key, category in tables[of].names.items():
        add(category, {name: own[category][metric.name] for name, own in scores.items() if category in own}, [key])
    for label, left in means_of(sides, without).items():
        numbers = {name: table.score[metric.name] for name, table in left.items()}
        add(label, numbers, list(left[of].names), mean=True)
    return rows


def least(rows: list[Margin]) -> Margin | None:
    """The category in which the margin is least."""
    return min((row for row in rows if not row.mean), key=lambda row: row.points, default=None)


def opponents(over: tuple[str, ...]) -> str:
    """The methods that one is compared with, in words."""
    return over[0] if len(over) == 1 else f"the best of {'; '.join(over)}"


def margin_table(rows: list[Margin], config: MarginConfig, metric: Metric) -> Table:
    """``rows``, at least one of them a category, as a table whose title names the category of the least margin."""
    lowest = least(rows)
    assert lowest is not None, "a category"
    title = f"{metric.title}, {config.of} over {opponents(config.over)}, points"
    title += f"; least in {lowest.label}, {lowest.points:+.1f}"
    single = len(config.over) == 1
    names = [row.label if single else f"{row.label} ({row.other})" for row in rows]
    cells = tuple(
        (name, (row.own, row.best, row.points, row.interval.low, row.interval.high))
        for name, row in zip(names, rows, strict=True)
    )
    return Table(
        title=title,
        corner="category" if single else "category (best other)",
        columns=(config.of, config.over[0] if single else "best other", "margin", "low", "high"),
        rows=cells,
        compare=None,
        summary=tuple(name for name, row in zip(names, rows, strict=True) if row.mean),
    )


def _clusters(table: ScoreTable, meshes: Mapping[int, str]) -> NDArray[np.int64] | None:
    """A number for the mesh of each instance [N]; None if one of them is not known."""
    ids = table.ids()
    if ids is None or not all(key in meshes for key in ids.tolist()):
        return None
    return np.unique([meshes[key] for key in ids.tolist()], return_inverse=True)[1].astype(np.int64)


def _interval(
    own: ScoreTable, other: ScoreTable | None, metric: str, categories: list[int], clusters: NDArray[np.int64] | None
) -> Interval:
    """The interval in percent of the difference of two methods, or of the numbers of one, over some categories."""
    first, second = own.instances(metric), None if other is None else other.instances(metric)
    if first is None or (other is not None and second is None):
        return Interval(low=float("nan"), high=float("nan"))
    values = first[0] if second is None else first[0] - second[0]
    chosen = np.isin(first[1], categories)
    objects = np.unique(first[1][chosen & ~np.isnan(values)], return_counts=True)[1]
    if not (objects > 1).any():  # drawn again and again, one object is always the same
        return Interval(low=float("nan"), high=float("nan"))
    drawn = None if clusters is None else clusters[chosen]
    means = stratified_means(values[chosen], first[1][chosen], _SAMPLES, 0, drawn).values()
    defined = [one for one in means if not np.isnan(one).any()]
    found = interval(np.mean(defined, axis=0) if defined else np.zeros(0))
    return Interval(low=100 * found.low, high=100 * found.high)
