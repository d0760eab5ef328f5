"""What all tracks have in common: an evaluator that reads results, and a table of scores that reports show.

    evaluator = InstanceEvaluator(dataset)        # or the evaluator of another track (``tracks.TRACKS``)
    evaluator.process(results_of_this_worker)
    evaluator.merge(records_of_another_worker)    # ``records()`` of an evaluator of the same data set
    table = evaluator.evaluate()
    table.metrics[0].name                         # the main metric
    table.score["miou"], table.by_category()["chair"]["miou"], table.by_level()["heavy"]["miou"]
    table.intervals()["miou"]["mean"].low

Numbers are named by the ``Metric`` of the track. They lie in 0..1 unless the metric has another unit, and are NaN where
they are undefined. The table is identical for any number of workers.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.structures import AmodalDataset


@dataclass(frozen=True, kw_only=True)
class Score:
    """The numbers of a set of instances.

    Attributes:
        counts: the number of scored instances ("instances"), of those among them without a prediction ("missing"), and
            what else a track counts.
        values: the numbers by the name of the metric; NaN where undefined.
    """

    counts: Mapping[str, int]
    values: Mapping[str, float]

    def __getitem__(self, metric: str) -> float:
        return self.values[metric]

    def to_dict(self) -> dict[str, float]:
        return {**self.counts, **self.values}


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval of one metric, in the metric's unit."""

    low: float
    high: float


class ScoreTable(ABC):
    """The scores of one method on one data set, in one track.

    Attributes:
        protocol: the conditions of the evaluation; only numbers of equal protocols may share a table.
        metrics: the metrics in the scores, the main one first.
        names: names of the scored categories by their ids, in the data set's order.
    """

    protocol: str
    metrics: tuple[Metric, ...]
    names: Mapping[int, str]

    @property
    @abstractmethod
    def score(self) -> Score:
        """The numbers over the whole data set."""

    @abstractmethod
    def by_category(self) -> dict[str, Score]:
        """The numbers of every scored category, in the data set's order."""

    def by_level(self) -> dict[str, Score]:
        """The numbers of every occlusion level ("none", "partial", "heavy"); empty in tracks without levels."""
        return {}

    def without(self, *categories: str) -> ScoreTable:
        """The table without the named categories.

        Raises:
            UsageError: a category without scored instances, or no category would be left.
        """
        known = ", ".join(self.names.values())
        for name in categories:
            if name not in self.names.values():
                raise UsageError(f"category {name!r} is not scored; choose from {known}")
        dropped = [key for key, name in self.names.items() if name in categories]
        if len(dropped) == len(self.names):
            raise UsageError(f"without: expected some of the categories, got all: {known}; leave one")
        return self._without(dropped)

    @abstractmethod
    def _without(self, categories: list[int]) -> ScoreTable:
        """The table without the categories with these ids; at least one other category remains."""

    @abstractmethod
    def intervals(self, *, samples: int = 1000, seed: int = 0) -> dict[str, dict[str, Interval]]:
        """95 % bootstrap intervals of the main metrics, from ``samples`` resamplings: by metric, then by category name.

        The name "mean" holds the interval of the number over the whole data set.
        """

    def levels(self) -> dict[str, str]:
        """The definitions of the occlusion levels of ``by_level``."""
        return {}

    def instances(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:  # noqa: ARG002
        """The values [N] of a metric for the scored instances, NaN where undefined, and their category ids [N].

        The order is that of the data set, so that the instances of two methods can be paired. None for a metric that is
        not the mean of values of single instances.
        """
        return None

    def ids(self) -> NDArray[np.int64] | None:
        """The annotation ids [N] of the rows of ``instances``; None where rows are not annotations."""
        return None

    def to_dict(self, *, samples: int = 1000, seed: int = 0) -> dict[str, Any]:
        """All numbers as JSON values, with the formula and the protocol of each metric; undefined numbers are None."""
        rows = self.intervals(samples=samples, seed=seed)
        content = {
            "protocol": self.protocol,
            "metrics": [asdict(metric) for metric in self.metrics],
            "overall": self.score.to_dict(),
            "by_category": {name: score.to_dict() for name, score in self.by_category().items()},
            "by_level": {name: score.to_dict() for name, score in self.by_level().items()},
            "levels": self.levels(),
            "intervals": {
                "level": 0.95,
                "samples": samples,
                "seed": seed,
                **{metric: {name: asdict(row) for name, row in own.items()} for metric, own in rows.items()},
            },
        }
        plain: dict[str, Any] = _without_nan(content)
        return plain


def scored_names(names: Mapping[int, str], categories: Iterable[int]) -> dict[int, str]:
    """Those of ``names`` (by category id) whose ids are among ``categories``, in the order of ``names``.

    Raises:
        DataError: two of these categories have the same name, so that a table could not tell them apart.
    """
    present = set(categories)
    scored = {key: name for key, name in names.items() if key in present}
    ids: dict[str, int] = {}
    for key, name in scored.items():
        if name in ids:
            problem = f"two are named {name!r} (ids {ids[name]} and {key}); give each a name of its own"
            raise DataError(problem, field="categories")
        ids[name] = key
    return scored


class Evaluator(ABC):
    """Scores the results of one track against one data set (``reset``, ``process``, ``evaluate``, as in detectron2).

    An evaluator works in rows of numbers. The first column of a row is the id of an image or, where results are matched
    by annotation id, of an annotation. The rows of one id depend on its annotations and its results alone, so that
    several workers can each score some of the ids and hand on their rows.

    Args:
        dataset: the ground truth.
    """

    key: ClassVar[Literal["annotation id", "image id"]]
    """What the first column holds; all results with the same id belong to one worker."""
    row_length: ClassVar[int]
    """Number of columns."""
    dtype: ClassVar[type] = np.int64
    several: ClassVar[bool] = False
    """Whether an annotation may have more than one result; else those with a chance are left out."""

    def __init__(self, dataset: AmodalDataset) -> None:
        self._dataset = dataset
        self._images = {image.id: image for image in dataset.images}
        self._annotations = {one.id: (image, one) for image in dataset.images for one in image.instances}
        self.reset()

    def reset(self) -> None:
        """Forget all results."""
        self._results: dict[int, list[AmodalResult]] = {}
        self._rows: dict[int, NDArray[Any]] = {}

    def process(
        self, results: Iterable[AmodalResult], *, file: str | Path | None = None, numbers: Sequence[int] | None = None
    ) -> None:
        """Take in ``results``, in any order.

        Args:
            file: where they come from, for error messages.
            numbers: their positions in that file, where these are not 0, 1, 2 ...

        Raises:
            DataError: a result that does not fit the data set, or that was given before.
        """
        places = iter(itertools.count() if numbers is None else numbers)
        for result in results:
            number = next(places)
            if result.chance is not None and not self.several:
                continue
            try:
                self._add(result)
            except DataError as error:
                raise DataError(error.problem, file=file, field=f"[{number}].{error.field}") from None

    def records(self) -> NDArray[Any]:
        """The rows [M,row_length] of the results so far, by rising id: what a worker hands on."""
        return self._stack(sorted({*self._results, *self._rows}))

    def merge(self, records: NDArray[Any]) -> None:
        """Add the ``records()`` [M,row_length] of another worker's evaluator of the same data set.

        Raises:
            DataError: rows of another data set, or rows or results with the same id were given before.
        """
        known = self._images if self.key == "image id" else self._annotations
        order = np.argsort(records[:, 0], kind="stable")
        ids, starts = np.unique(records[order, 0], return_index=True)
        for number, rows in zip(ids.astype(np.int64).tolist(), np.split(records[order], starts[1:]), strict=False):
            if number not in known:
                raise DataError(f"{self.key} {number} of a shard is not in the annotations; shards need one data set")
            if number in self._rows or number in self._results:
                raise DataError(f"{self.key} {number} came before; give all of its results to one worker")
            self._rows[number] = rows

    @abstractmethod
    def evaluate(self) -> ScoreTable:
        """The table over the whole data set, also over what has no results.

        Raises:
            DataError: nothing in the data set can be scored in this track, or two categories have the same name.
        """

    @abstractmethod
    def _add(self, result: AmodalResult) -> None:
        """Check one result and keep it in ``_results`` under its id; the field of a ``DataError`` is the result's."""

    @abstractmethod
    def _score(self, number: int, results: Sequence[AmodalResult]) -> NDArray[Any]:
        """The rows [m,row_length] of the image or annotation with the id ``number``, from all of its results."""

    def _stack(self, ids: Iterable[int]) -> NDArray[Any]:
        rows = [
            self._rows[number] if number in self._rows else self._score(number, self._results.get(number, ()))
            for number in ids
        ]
        return np.concatenate([np.zeros((0, self.row_length), self.dtype), *rows])


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
