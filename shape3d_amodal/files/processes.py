"""Work spread over processes of this machine, its results in order and in bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from shape3d_amodal.errors import AmodalError

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 4
"""Tasks a worker that are begun before their results are asked for."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What these libraries read when they are loaded."""


@contextmanager
def spread(
    make: Callable[..., Callable[[Task], Result]], arguments: tuple[Any, ...], workers: int
) -> Iterator[Callable[[Iterable[Task]], Iterator[Result]]]:
    """What maps tasks to results, in order.

    Args:
        make: called once in every process, with ``arguments``; it returns what does a task. Both can be pickled.
        workers: number of processes; 1 is this one.

    Raises:
        AmodalError: a worker process died.
    """
    if workers == 1:
        work = make(*arguments)
        yield lambda tasks: map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with _one_thread_each(), ProcessPoolExecutor(workers, context, _start, (make, arguments)) as pool:
        try:
            yield lambda tasks: _in_order(pool, tasks, _AHEAD * workers)
        except BrokenProcessPool:
            problem = "a worker process died, perhaps for want of memory; run the same command with fewer workers"
            raise AmodalError(problem) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started here have one thread each in linear algebra: idle ones would spin beside the others."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _in_order(pool: ProcessPoolExecutor, tasks: Iterable[Task], ahead: int) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for task in tasks:
        waiting.append(pool.submit(_work, task))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_worker: list[Callable[[Any], Any]] = []
"""What does the tasks of this worker process."""


def _start(make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _worker.append(make(*arguments))


def _leave_with_parent() -> None:
    """End this process when its parent is gone, even where that was killed and could not say so."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(task: Any) -> Any:
    return _worker[0](task)
