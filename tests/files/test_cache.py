from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from shape3d_amodal.errors import DataError
from shape3d_amodal.files import cache
from shape3d_amodal.files.cache import made_once


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


def test_others_wait_and_say_for_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    command = [sys.executable, "-c", MAKER, str(tmp_path / "set")]
    monkeypatch.setattr(cache, "PATIENCE", 0.1)
    monkeypatch.setattr(cache.logger, "info", lambda *message: (cache.logger.warning(*message), let_go()))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        stdin = other.stdin

        def let_go() -> None:
            stdin.write("\n")
            stdin.flush()

        assert other.stdout.readline() == "making\n"
        with caplog.at_level(logging.INFO):
            made_once(tmp_path / "set", lambda folder: (folder / "by").write_text("this one"))
    assert (tmp_path / "set" / "by").read_text() == "another process"
    assert caplog.messages == [f"waiting for another process, which makes {tmp_path / 'set'}"]
