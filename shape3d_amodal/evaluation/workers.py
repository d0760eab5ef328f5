"""Scoring with several processes: images are dealt out, rows come back, and the table is the same for any number."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import AmodalError
from shape3d_amodal.evaluation.interface import Evaluator, ScoreTable


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
    shards: list[list[int]] = [[] for _ in range(workers)]
    for number, result in enumerate(results):
        shards[places[result.image_id]].append(number)
    # Where processes are forked, what the initializer gets is shared with them and not copied.
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(evaluator, results, file)) as pool:
        try:
            for records in pool.map(_records, shards):
                evaluator.merge(records)
        except BrokenProcessPool:
            raise AmodalError("a worker process died, perhaps for want of memory; use fewer workers") from None
    return evaluator.evaluate()


_task: tuple[Evaluator, Sequence[AmodalResult], str | Path | None]


def _start(evaluator: Evaluator, results: Sequence[AmodalResult], file: str | Path | None) -> None:
    global _task
    gc.freeze()  # a collection would write to, and so copy, what is shared with the parent
    _task = evaluator, results, file


def _records(numbers: list[int]) -> NDArray[Any]:
    evaluator, results, file = _task
    evaluator.reset()
    evaluator.process([results[number] for number in numbers], file=file, numbers=numbers)
    return evaluator.records()
