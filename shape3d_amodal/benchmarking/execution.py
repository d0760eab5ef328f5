"""Showing images to methods, in this process or in several; the answers do not depend on how many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from shape3d_amodal.annotations.images import ImageFiles
from shape3d_amodal.benchmarking.methods import BuiltOptions
from shape3d_amodal.benchmarking.store import Answer
from shape3d_amodal.files.processes import spread
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.methods.interface import CompletionMethod, FindsObjects, ReconstructsMeshes
from shape3d_amodal.structures import AmodalImage


@dataclass(frozen=True)
class Job:
    """A method on a data set, as it is sent to worker processes.

    Attributes:
        options: the method.
        names: (id, name) of the categories.
        device: where it runs.
        files: the images.
        meshes: folder that methods which reconstruct meshes write them to; None writes none.
        given: what the method starts from.
    """

    options: BuiltOptions
    names: tuple[tuple[int, str], ...]
    device: str
    files: ImageFiles
    meshes: Path | None = None
    given: Given = "masks"


_Question = tuple[Job, Sequence[AmodalImage]]  # a method, and images for it; without any it is only built
_Reply = tuple[int, list[Answer]]  # the method's number of parameters and its answers


@dataclass(frozen=True)
class Workers:
    """Where methods run: ``count`` processes with ``threads`` threads of torch each; of one process it is this one.

    Both methods raise an ``AmodalError`` if a worker process died, and the errors of the method that runs.
    """

    count: int
    threads: int
    run: Callable[[Iterable[_Question]], Iterator[_Reply]]

    def answers(self, job: Job, records: Sequence[AmodalImage]) -> Iterator[Answer]:
        """The answers for ``records`` (as ``shown`` gives them), in their order."""
        for _, answers in self.run((job, [record]) for record in records):
            yield from answers

    def parameters(self, job: Job) -> int:
        """Build the method where it runs, and count its learned parameters."""
        ((parameters, _),) = self.run([(job, ())])
        return parameters


@contextmanager
def workers(count: int, threads: int) -> Iterator[Workers]:
    """Start ``count`` processes (or take this one, for 1) with ``threads`` threads of torch each; 0 leaves them.

    Raises:
        AmodalError: a worker process died; what was answered before is kept.
    """
    before = torch.get_num_threads()
    threads = threads or max(1, before // count)
    with spread(_answerer, (threads,), count, threads=threads) as run:
        try:
            yield Workers(count, threads, run)
        finally:
            torch.set_num_threads(before)


def _answerer(threads: int) -> Callable[[_Question], _Reply]:
    torch.set_num_threads(threads)
    build = lru_cache(maxsize=1)(_build)  # as long as these workers: weights may be others the next time

    def reply(question: _Question) -> _Reply:
        job, records = question
        method = build(job)
        return method.parameters, [_answer(method, job, record) for record in records]

    return reply


def _build(job: Job) -> CompletionMethod | FindsObjects:
    method = job.options.build(dict(job.names), job.device)
    if job.meshes is not None and isinstance(method, ReconstructsMeshes):
        job.meshes.mkdir(exist_ok=True)
        method.meshes = job.meshes
    return method


def _answer(method: CompletionMethod | FindsObjects, job: Job, record: AmodalImage) -> Answer:
    image = job.files.read(record)
    begin = time.perf_counter()
    if job.given == "image":
        assert isinstance(method, FindsObjects), "its kind says that it takes images"
        results = tuple(method.find(image, record))
    else:
        assert isinstance(method, CompletionMethod), "its kind says that it takes masks"
        results = tuple(method.complete(image, record))
    return Answer(record.id, time.perf_counter() - begin, results)
