"""Folders in which one process works at a time: made once while the others wait, or refused to a second one."""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import TextIO

from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.files.atomic import make_folder
from shape3d_amodal.files.processes import refuse_second_run

PATIENCE = 5.0
"""Seconds of waiting for a lock after which a line says what is waited for."""

logger = logging.getLogger(__name__)


def user_cache() -> Path | None:
    """The user's folder for what can be made again: SHAPE3D_AMODAL_CACHE, else in XDG_CACHE_HOME or ~/.cache.

    None, after a warning, where nothing can be kept there.
    """
    named = os.environ.get("SHAPE3D_AMODAL_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(named) if named else Path(base) / "shape3d-amodal"
    try:
        make_folder(folder)
    except DataError as error:
        logger.warning("%s; what would be kept is made again each time; set SHAPE3D_AMODAL_CACHE", error)
        return None
    return folder


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """``folder``, which is made where it is missing; it appears whole or not at all.

    Args:
        make: fills the empty folder that it is given, which bears another name until it is whole.

    Raises:
        DataError: no folder can be made there.
        Exception: whatever ``make`` raises; then nothing stays of what it made.
    """
    refuse_second_run()
    if folder.is_dir():  # whole, as it appears at once; the cache may be read-only
        return folder
    make_folder(folder.parent)
    with locked(folder):
        if not folder.is_dir():
            unfinished = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(unfinished, ignore_errors=True)  # a killed process has left it
            try:
                make_folder(unfinished)
                make(unfinished)
                unfinished.replace(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time work on ``path``: the lock is a file beside it, in a folder that must exist.

    A process that has waited for ``PATIENCE`` seconds warns for whom.

    Raises:
        DataError: the folder cannot be written to.
    """
    refuse_second_run()
    with _lock_file(path.with_name(f"{path.name}.lock")) as lock:

        def tell() -> None:
            logger.warning("waiting for %s, which works on %s; end it or let it finish", _holder(lock), path)

        timer = Timer(PATIENCE, tell)
        timer.daemon = True
        timer.start()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        finally:
            timer.cancel()
        with _held(lock):
            yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Work in ``folder``, which is made where it is missing, as the only process; a second one is refused.

    If nothing was written there in the end, neither the lock nor a folder that was made for it stays.

    Raises:
        UsageError: another process works there.
        DataError: the folder cannot be made, or not be written to.
    """
    refuse_second_run()
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    with _lock_alone(folder) as lock, _held(lock):
        try:
            yield
        finally:
            with suppress(OSError):  # something is in one of the folders
                _remove_unused(folder, missing)


def _lock_alone(folder: Path) -> TextIO:
    """The locked file ``.lock`` in ``folder``."""
    while True:
        make_folder(folder)
        lock = _lock_file(folder / ".lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with lock:
                problem = f"{_holder(lock)} works in this folder; wait for it or choose another"
            raise UsageError(f"{folder}: {problem}") from None
        if os.fstat(lock.fileno()).st_nlink:
            return lock
        lock.close()  # its last owner has removed it in between


def _remove_unused(folder: Path, made: Sequence[Path]) -> None:
    """Remove ``folder/.lock`` and the folders that were ``made`` for it, the inner ones first, if that is all there is.

    Raises:
        OSError: a folder cannot be looked at, or something is in it.
    """
    if [path.name for path in folder.iterdir()] == [".lock"]:
        (folder / ".lock").unlink()
        for one in made:
            one.rmdir()


def _lock_file(path: Path) -> TextIO:
    try:
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        problem = (
            f"cannot write to this folder: {error.strerror or error}; choose another one, or change its permissions"
        )
        raise DataError(problem, file=path.parent) from error


@contextmanager
def _held(lock: TextIO) -> Iterator[None]:
    """While entered, the locked file says by whom it is locked."""
    lock.truncate(0)
    lock.write(f"{os.getpid()} {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]}")
    lock.flush()
    try:
        yield
    finally:
        lock.truncate(0)


def _holder(lock: TextIO) -> str:
    """Who holds the lock, as it says itself; it may be about to say so."""
    lock.seek(0)
    number, _, command = lock.read().partition(" ")
    return f"process {number} ({command})" if command else "another process"
