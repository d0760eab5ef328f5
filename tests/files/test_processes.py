from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shape3d_amodal.errors import AmodalError, UsageError
from shape3d_amodal.files.processes import _WorkerContext, spread


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


def run(program: str, folder: Path, *, seconds: int = 120) -> subprocess.CompletedProcess[str]:
    """What becomes of a program in a file of its own."""
    (folder / "program.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "program.py"]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_a_program_without_a_guard_is_not_run_again_by_its_workers(tmp_path: Path) -> None:
    program = """
print("runs")
from operator import pow
from functools import partial
from shape3d_amodal.files.processes import spread

with spread(partial, (pow, 2), 2) as work:
    print(*work(range(5)))
"""
    done = run(program, tmp_path)
    assert (done.returncode, done.stdout) == (0, "runs\n1 2 4 8 16\n"), done.stderr


def test_functions_of_a_guarded_program_are_found_by_its_workers(tmp_path: Path) -> None:
    program = """
from functools import partial
from shape3d_amodal.files.processes import spread

class Task:
    pass

def square(number):
    return number**2

def kind(task):
    return type(task).__name__

if __name__ == "__main__":
    with spread(partial, (square,), 2) as work:
        print(*work(range(5)))
    with spread(partial, (str,), 2) as work:  # what workers do is Python's own, the tasks are not
        print(len(list(work([Task(), Task()]))))
"""
    done = run(program, tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 1 4 9 16\n2\n"), done.stderr


def test_a_later_task_of_the_main_program_is_one_line(tmp_path: Path) -> None:
    program = """
from functools import partial
from shape3d_amodal.errors import AmodalError
from shape3d_amodal.files.processes import spread

class Task:
    pass

if __name__ == "__main__":
    with spread(partial, (str,), 2) as work:
        try:
            print(*work([1, 2, Task()]))
        except AmodalError as error:
            print(error)
        print(*work([3]))  # no worker has died of it
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr
    line, after = done.stdout.splitlines()
    assert "Can't get attribute 'Task'" in line and "put that into a module of its own" in line
    assert after == "3"


@pytest.mark.parametrize("text", ["__main__.py", "a/__main__/b"])
def test_a_text_with_that_name_in_it_does_not_run_the_program(text: str, tmp_path: Path) -> None:
    program = f"""
from functools import partial
from shape3d_amodal.files.processes import spread

print("runs")
with spread(partial, (max, {text!r}), 2) as work:
    print(*work(["", {text!r}]))
"""
    done = run(program, tmp_path)
    assert (done.returncode, done.stdout) == (0, f"runs\n{text} {text}\n"), done.stderr


def test_large_arguments_are_looked_through_without_a_copy() -> None:
    """Of bytes and of arrays; and the name is found behind them."""
    size = 2**26
    for large in (bytes(size), np.zeros(size, np.uint8)):
        context = _WorkerContext()
        tracemalloc.start()
        context.note((large, len))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < size / 16
        assert not context.runs_main
        main = sys.modules["__main__"]
        main.telling = telling
        telling.__module__, before = "__main__", telling.__module__
        try:
            context.note((large, telling))
        finally:
            telling.__module__ = before
            del main.telling
        assert context.runs_main


@pytest.mark.parametrize("before", ["", "with locked(Path('lock')):\n    "])
def test_an_unguarded_program_whose_own_functions_are_needed_ends_with_what_to_do(tmp_path: Path, before: str) -> None:
    """Also where the workers would wait for a lock that their parent holds."""
    program = f"""
from functools import partial
from pathlib import Path
from shape3d_amodal.files.cache import locked
from shape3d_amodal.files.processes import spread

def square(number):
    return number**2

def work():
    with spread(partial, (square,), 2) as work:
        print(*work(range(5)))

{before}work()
"""
    done = run(program, tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "shape3d_amodal.errors.AmodalError: a worker process died, which had to run the main program"
    )
    assert last.endswith('put what your program runs below a line: if __name__ == "__main__":')


@pytest.mark.parametrize(
    "call",
    [
        'main(["scenes", "--out", "out", "--count", "4", "--shard-size", "2", "--workers", "2",'
        ' "--set", "scenes.image_size=64"])',
        "open_pool(CropsConfig(count=4, scenes=SceneConfig(image_size=64), size=16), Path('cache'), workers=2)",
    ],
)
def test_programs_that_call_ours_need_no_guard(tmp_path: Path, call: str) -> None:
    program = f"""
from pathlib import Path
from shape3d_amodal.cli import main
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.crops.pool import open_pool
from shape3d_amodal.scenes.compose import SceneConfig
print("begun")
done = {call}
print("ended", done == 0 or len(done.category) > 0)
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.count("begun") == 1
    assert lines[-1] == "ended True"
