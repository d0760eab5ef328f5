"""Scoring with several processes: images are dealt out, rows come back, and the table is the same for any number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.evaluation.interface import Evaluator, ScoreTable
from shape3d_amodal.files.processes import spread

_Share = tuple[list[AmodalResult], list[int]]  # some of the results, and their places among all of them


def score(
    evaluator: Evaluator, results: Sequence[AmodalResult], *, file: str | Path | None = None, workers: int = 1
) -> ScoreTable:
    """The table of ``results``, which came from ``file``.

    Args:
        evaluator: fresh; with several workers each gets a copy of it.
        workers: processes; all results of an image go to one of them.

    Raises:
        DataError: as ``evaluator`` does.
        AmodalError: a worker process died.
    """
    if workers == 1:
        evaluator.process(results, file=file)
        return evaluator.evaluate()
    places = {image: i % workers for i, image in enumerate(dict.fromkeys(result.image_id for result in results))}
    shares: list[_Share] = [([], []) for _ in range(workers)]
    for number, result in enumerate(results):
        share, numbers = shares[places[result.image_id]]
        share.append(result)
        numbers.append(number)
    with spread(_scorer, (evaluator, file), workers) as run:
        for records in run(shares):
            evaluator.merge(records)
    return evaluator.evaluate()


def _scorer(evaluator: Evaluator, file: str | Path | None) -> Callable[[_Share], NDArray[Any]]:
    def records(share: _Share) -> NDArray[Any]:
        results, numbers = share
        evaluator.reset()
        evaluator.process(results, file=file, numbers=numbers)
        return evaluator.records()

    return records
