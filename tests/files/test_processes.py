from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shape3d_amodal.errors import AmodalError, UsageError
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


def refusing() -> Callable[[int], int]:
    raise UsageError("no such thing")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_made_says_why(workers: int) -> None:
    with pytest.raises(UsageError, match="no such thing"), spread(refusing, (), workers) as work:
        list(work([1]))


def counting(file: Path) -> Callable[[int], int]:
    with file.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    return lambda number: number


def test_what_does_the_tasks_is_made_once_a_process(tmp_path: Path) -> None:
    with spread(counting, (tmp_path / "made",), 2) as work:
        assert list(work(range(5))) + list(work(range(5))) == [*range(5), *range(5)]
    made = (tmp_path / "made").read_text().split()
    assert 1 <= len(made) == len(set(made)) <= 2


SCRIPT = """
import os, sys, time
from shape3d_amodal.files.processes import spread

def slow():
    def work(_):
        print(os.getpid(), flush=True)
        time.sleep(1000)
    return work

if __name__ == "__main__":
    with spread(slow, (), 2) as work:
        list(work(range(2)))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes of a terminal, the other signals the parent alone."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    assert program.stdout is not None
    workers = [int(program.stdout.readline()) for _ in range(2)]
    if number == signal.SIGINT:
        os.killpg(program.pid, number)
    else:
        program.send_signal(number)
    assert program.wait(60) != 0
    end = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_script_without_a_guard_ends_with_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace('if __name__ == "__main__"', "if True"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "AmodalError: a worker process died" in done.stderr
    assert "if __name__ == '__main__'" in done.stderr
