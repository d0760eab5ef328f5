from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from shape3d_amodal.errors import AmodalError
from shape3d_amodal.files.processes import spread


def adding(term: int) -> Callable[[int], int]:
    return lambda number: number + term


def dying(number: int) -> Callable[[int], int]:
    return lambda _: os.kill(os.getpid(), signal.SIGKILL) or number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_tasks_are_drawn_as_they_are_needed(workers: int) -> None:
    drawn = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    with spread(adding, (5,), workers) as add:
        results = add(tasks())
        assert next(results) == 5
        assert len(drawn) <= 4 * workers
        assert list(results) == list(range(6, 105))


def test_a_worker_that_dies_is_one_clear_line() -> None:
    with (
        pytest.raises(AmodalError, match="a worker process died, perhaps for want of memory; run the same command"),
        spread(dying, (5,), 2) as die,
    ):
        list(die(range(3)))


def telling(name: str) -> Callable[[int], str | None]:
    return lambda _: os.environ.get(name)


def test_workers_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        with spread(telling, (name,), 2) as tell:
            assert list(tell(range(3))) == ["1"] * 3
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
