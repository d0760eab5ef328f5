from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.files.cache import alone, made_once


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        (folder / "a").write_text("1")
        assert not (tmp_path / "cache" / "set").exists()
        made.append(folder)

    for _ in range(2):
        assert made_once(tmp_path / "cache" / "set", make) == tmp_path / "cache" / "set"
        assert [path.name for path in (tmp_path / "cache" / "set").iterdir()] == ["a"]
    assert len(made) == 1


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "set", fail)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_what_a_killed_process_left_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "set.part").mkdir()
    (tmp_path / "set.part" / "half").touch()
    made_once(tmp_path / "set", lambda folder: (folder / "whole").touch())
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["whole"]


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: cannot make the folder \(File exists\)"):
        made_once(tmp_path / "file" / "set", lambda _: None)


MAKER = """
import sys, time
from pathlib import Path
from shape3d_amodal.files.cache import made_once

def make(folder):
    print("making", flush=True)
    sys.stdin.readline()
    (folder / "by").write_text("another process")

made_once(Path(sys.argv[1]), make)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that makes ``tmp_path / "set"`` and goes on when a line is written to it."""
    command = [sys.executable, "-c", MAKER, str(tmp_path / "set")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "making\n"
        yield process
        process.kill()


WAITER = """
import sys
from pathlib import Path
from shape3d_amodal.files import cache

cache.PATIENCE = 0.2
cache.made_once(Path(sys.argv[1]), lambda folder: (folder / "by").write_text("this one"))
"""


def test_others_wait_and_say_for_whom(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    """On standard error, also of a program that has set up no logging."""
    command = [sys.executable, "-c", WAITER, str(tmp_path / "set")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiter:
        assert waiter.stderr is not None
        line = waiter.stderr.readline()
        other.communicate("\n")
        assert waiter.wait(60) == 0
    assert line.startswith(
        f"waiting for process {other.pid} (-c {tmp_path / 'set'}), which works on {tmp_path / 'set'}"
    )
    assert (tmp_path / "set" / "by").read_text() == "another process"


HOLDER = MAKER.replace("made_once", "alone").replace(
    "alone(Path(sys.argv[1]), make)", "with alone(Path(sys.argv[1])):\n    make(Path(sys.argv[1]))"
)


def test_a_second_process_in_a_folder_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "set")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "making\n"
        with pytest.raises(UsageError) as caught, alone(tmp_path / "set"):
            pass
        holder.communicate("\n")
    named = f"{tmp_path / 'set'}: process {holder.pid} (-c {tmp_path / 'set'}) works in this folder"
    assert str(caught.value) == f"{named}; wait for it or choose another"
    with alone(tmp_path / "set"):  # it is free again
        pass


@pytest.mark.parametrize("error", [None, UsageError("wrong")])
def test_a_folder_in_which_nothing_was_written_does_not_stay(error: UsageError | None, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "beside").mkdir()
    for folder, wrote in (("new", ""), ("far/below", ""), ("own", ""), ("beside/new", "../file"), ("full", "file")):
        with suppress(UsageError), alone(tmp_path / folder):
            assert (tmp_path / folder / ".lock").exists()
            if wrote:
                (tmp_path / folder / wrote).touch()
            if error is not None:
                raise error
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["beside", "beside/file", "full", "full/.lock", "full/file", "own"]


def test_a_lock_that_was_removed_in_between_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last owner removes it after another process has opened it, and before that locks it."""
    flock, calls = fcntl.flock, []

    def slow(file: object, how: int) -> None:
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(how)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with alone(tmp_path):
        assert len(calls) == 2
        with pytest.raises(UsageError, match="works in this folder"), alone(tmp_path):
            pass


def test_what_is_there_is_used_without_a_lock(tmp_path: Path) -> None:
    """As in a shared cache that is read-only."""
    (tmp_path / "set").mkdir()
    assert made_once(tmp_path / "set", lambda _: pytest.fail("made again")) == tmp_path / "set"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_lock_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()  # no file can be opened there, not even by root
    with pytest.raises(DataError, match="cannot write to this folder") as caught, alone(tmp_path):
        pass
    assert caught.value.file == str(tmp_path)
    (tmp_path / "set.lock").mkdir()
    with pytest.raises(DataError, match="cannot write to this folder"):
        made_once(tmp_path / "set", lambda _: None)
