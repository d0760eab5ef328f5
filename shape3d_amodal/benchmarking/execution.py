"""Showing images to methods, in this process or in several; the answers do not depend on how many."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from shape3d_amodal.annotations.images import load_image
from shape3d_amodal.benchmarking.methods import BuiltOptions
from shape3d_amodal.benchmarking.store import Answer
from shape3d_amodal.errors import AmodalError
from shape3d_amodal.methods.ground_truth import Given
from shape3d_amodal.methods.interface import CompletionMethod, FindsObjects, ReconstructsMeshes
from shape3d_amodal.structures import AmodalImage

_CHUNK = 4
"""Images that a worker process is given at once; those that it holds are lost with it."""


@dataclass(frozen=True)
class Job:
    """A method on a data set, as it is sent to worker processes.

    Attributes:
        options: the method.
        names: (id, name) of the categories.
        device: where it runs.
        images, annotations: as for ``load_image``.
        meshes: folder that methods which reconstruct meshes write them to; None writes none.
        given: what the method starts from.
    """

    options: BuiltOptions
    names: tuple[tuple[int, str], ...]
    device: str
    images: Path
    annotations: Path
    meshes: Path | None = None
    given: Given = "masks"


class Workers:
    """Where methods run: ``count`` processes with ``threads`` threads each; of one process it is this one."""

    def __init__(self, count: int, threads: int, pool: ProcessPoolExecutor | None) -> None:
        self.count = count
        self.threads = threads
        self._pool = pool

    def answers(self, job: Job, records: Sequence[AmodalImage]) -> Iterator[Answer]:
        """The answers for ``records`` (as ``shown`` gives them), in the order in which they are ready.

        Raises:
            AmodalError: a worker process died.
        """
        if self._pool is None:
            yield from (_answer(job, record) for record in records)
            return
        chunks = [records[i : i + _CHUNK] for i in range(0, len(records), _CHUNK)]
        futures = [self._pool.submit(_answer_all, job, chunk) for chunk in chunks]
        try:
            with _told_of_deaths():
                for future in as_completed(futures):
                    yield from future.result()
        finally:
            for future in futures:
                future.cancel()

    def parameters(self, job: Job) -> int:
        """Build the method where it runs, and count its learned parameters.

        Raises:
            AmodalError: a worker process died; and the errors of ``BuiltOptions.build``.
        """
        if self._pool is None:
            return _parameters(job)
        with _told_of_deaths():
            return self._pool.submit(_parameters, job).result()


@contextmanager
def _told_of_deaths() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        problem = "a worker process died, perhaps for want of memory; what was answered is kept"
        raise AmodalError(f"{problem}: run the same command again, with fewer --workers") from error


@contextmanager
def workers(count: int, threads: int) -> Iterator[Workers]:
    """Start ``count`` processes (or take this one, for 1) with ``threads`` threads of torch each; 0 leaves them."""
    if count == 1:
        before = torch.get_num_threads()
        _use_threads(threads)
        try:
            yield Workers(1, torch.get_num_threads(), None)
        finally:
            _build.cache_clear()  # weights may have changed when the next benchmark of this process comes
            torch.set_num_threads(before)
        return
    threads = threads or max(1, torch.get_num_threads() // count)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker, initargs=(threads,)) as pool:
        yield Workers(count, threads, pool)


@lru_cache(maxsize=1)
def _build(job: Job) -> CompletionMethod | FindsObjects:
    """The method of ``job``; the last one is kept."""
    method = job.options.build(dict(job.names), job.device)
    if job.meshes is not None and isinstance(method, ReconstructsMeshes):
        job.meshes.mkdir(exist_ok=True)
        method.meshes = job.meshes
    return method


def _parameters(job: Job) -> int:
    return _build(job).parameters


def _answer(job: Job, record: AmodalImage) -> Answer:
    method = _build(job)
    picture = load_image(job.images, record, file=job.annotations)
    begin = time.perf_counter()
    if job.given == "image":
        assert isinstance(method, FindsObjects), "its kind says that it takes images"
        results = tuple(method.find(picture, record))
    else:
        assert isinstance(method, CompletionMethod), "its kind says that it takes masks"
        results = tuple(method.complete(picture, record))
    return Answer(record.id, time.perf_counter() - begin, results)


def _answer_all(job: Job, records: Sequence[AmodalImage]) -> list[Answer]:
    return [_answer(job, record) for record in records]


def _use_threads(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def _begin_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once; it would begin its next images otherwise
    _use_threads(threads)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """Workers wait for work for ever, also of a parent that was killed: end with it."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)
