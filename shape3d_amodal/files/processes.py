"""The one process pool: work spread over processes of this machine, results in order and in bounded memory.

Python's own way to start a worker is to run the user's program again, up to the guard ``if __name__ == "__main__"``.
A program without the guard would so start its work a second time. Our workers therefore leave the program alone,
unless what they are sent stands in it.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from shape3d_amodal.errors import AmodalError

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 4
"""Tasks per worker that are begun before their results are asked for."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What the libraries of linear algebra, and torch, read when they are loaded."""
_PROTOCOL = 5
"""Of pickle; the first that takes arrays as they lie in memory."""
_GUARD = 'put what your program runs below a line: if __name__ == "__main__":'


@contextmanager
def spread(
    make: Callable[..., Callable[[Task], Result]],
    arguments: tuple[Any, ...],
    workers: int,
    *,
    threads: int = 1,
    fork: bool = False,
) -> Iterator[Callable[[Iterable[Task]], Iterator[Result]]]:
    """A function from tasks to an iterator over their results, in the order of the tasks.

    joblib does the same in fewer lines, but its ``Parallel`` lets results pile up while the caller is busy, and its
    processes cannot be ended where the command ``pgrep`` is missing, as in many containers: after an interrupt or the
    death of a worker the program would wait for them for ever.

    Args:
        make: called with ``arguments`` once in every process, before its first task; it returns what does a task. All
            of them, and tasks and results, are pickled.
        workers: number of processes; 0 and 1 take this one.
        threads: threads of linear algebra in each worker process; more than there are cores would spin idly.
        fork: start the workers as copies of this process: faster, and ``arguments`` are shared instead of pickled. Only
            where this process has no threads of its own: a copy of a process with threads may hang.

    Raises:
        AmodalError: a worker process died.
        SystemExit: this is a worker that runs the main program again, which must not start workers itself.
        Exception: whatever ``make`` or a task raises.
    """
    if workers <= 1:
        work = make(*arguments)
        yield lambda tasks: map(work, tasks)
        return
    refuse_second_run()
    context = multiprocessing.get_context("fork") if fork else _WorkerContext()
    if isinstance(context, _WorkerContext):
        context.note((make, arguments))
    with _threads_each(threads), ProcessPoolExecutor(workers, context, _start, (make, arguments)) as pool:
        try:
            yield lambda tasks: _in_order(pool, _noted(tasks, context), _AHEAD * workers)
        except KeyboardInterrupt:
            for process in list((pool._processes or {}).values()):  # as terminate_workers() of Python 3.14
                process.terminate()  # Ctrl-C has reached them, too, other signals have not
            raise
        except BrokenProcessPool:
            problem = "a worker process died, perhaps for want of memory; run the same command again with fewer workers"
            if isinstance(context, _WorkerContext) and context.runs_main:
                problem = f"a worker process died, which had to run the main program again; {_GUARD}"
            raise AmodalError(problem) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def starting_workers(sent: Any, *, threads: int = 1) -> Iterator[SpawnContext]:
    """While entered, worker processes may be started by the context that it gives, for pools of other libraries.

    The workers leave Ctrl-C and SIGTERM to this process, which must end them.

    Args:
        sent: what they are sent at their start.
        threads: threads of linear algebra in each of them.

    Raises:
        SystemExit: this is a worker that runs the main program again, which must not start workers itself.
    """
    refuse_second_run()
    context = _WorkerContext()
    context.note(sent)
    resource_tracker.ensure_running()  # started later, it would let signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))  # workers start with the same
    try:
        with _threads_each(threads):
            yield context
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def refuse_second_run() -> None:
    """End this process where it is a worker that runs the main program again, in place of working for its parent.

    Raises:
        SystemExit: it is one. The parent says the same, so that this worker need not be heard.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(f"error: a worker process runs the main program again; {_GUARD}")


def _sent(array: np.memmap[Any, Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What is sent in place of an array that is mapped from a file: where it lies; parts of one are sent whole."""
    if isinstance(array.base, mmap.mmap) and array.mode == "r" and array.flags.c_contiguous:
        return _mapped, (array.filename, array.dtype, array.offset, array.shape)
    return np.array, (np.asarray(array),)


def _mapped(*place: Any) -> np.memmap[Any, Any]:
    file, dtype, offset, shape = place
    return np.memmap(file, dtype, "r", offset, shape)


ForkingPickler.register(np.memmap, _sent)


class _WorkerContext(SpawnContext):
    """Starts processes that run the main program again only where they need functions or classes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.runs_main = False

    def note(self, sent: Any) -> None:
        """Look whether ``sent`` belongs to the main program, which pickle then names."""
        if not self.runs_main:
            seeker = _MainSeeker()
            ForkingPickler(seeker, _PROTOCOL).dump(sent)
            self.runs_main = seeker.found

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        kind = SpawnProcess if self.runs_main else _ProcessWithoutMain
        return kind(*args, **kwargs)


class _MainSeeker:
    """A file that keeps nothing of a pickle but whether the main program is named in it: arguments may be large."""

    _NAME = re.compile(rb"\x8c\x08__main__")
    """As pickle writes a name of eight bytes; a longer text that has it in it is none."""

    def __init__(self) -> None:
        self.found = False

    def write(self, part: Any) -> None:
        self.found = self.found or self._NAME.search(part) is not None


_starting = threading.Lock()


class _ProcessWithoutMain(SpawnProcess):
    def start(self) -> None:
        with _starting:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")  # it names no file, so that the worker has none to run
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


def _noted(tasks: Iterable[Task], context: Any) -> Iterator[Task]:
    """The tasks; ``context`` has seen the first of them, by which workers are started.

    To look at more would draw tasks before they are needed. ``_work`` refuses a later one that needs more.
    """
    waiting = iter(tasks)
    first = list(islice(waiting, 1))
    if isinstance(context, _WorkerContext):
        context.note(first)
    return chain(first, waiting)


@contextmanager
def _threads_each(threads: int) -> Iterator[None]:
    """Processes that are started here have so many threads in linear algebra."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
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
        waiting.append(pool.submit(_work, bytes(ForkingPickler.dumps(task))))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_worker: list[Callable[[], Callable[[Any], Any]]] = []
"""In a worker process: gives what does the tasks."""


def _start(make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # end it at once; it would begin its next tasks otherwise
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _worker.append(cache(lambda: make(*arguments)))  # made with the first task, so that an error reaches the caller


def _leave_with_parent() -> None:
    """End this process when its parent is gone, even where that was killed and could not say so."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


def _work(pickled: bytes) -> Any:
    """Do a task. It is unpickled here: where the pool did it, a worker that cannot would die and not say why."""
    try:
        task = ForkingPickler.loads(pickled)
    except AttributeError as error:
        if "__main__" not in str(error):
            raise
        problem = f"a worker process has nothing of the main program, which only a later task needs ({error})"
        raise AmodalError(f"{problem}; put that into a module of its own, or begin with such a task") from error
    return _worker[0]()(task)
