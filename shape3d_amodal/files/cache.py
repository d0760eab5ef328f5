"""Folders that are made once and kept: of several processes that need one, one makes it and the others wait."""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from shape3d_amodal.files.atomic import make_folder

PATIENCE = 5.0
"""Seconds of waiting for a lock after which a line says what is waited for."""

logger = logging.getLogger(__name__)


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """``folder``, which is made where it is missing; it appears whole or not at all.

    Args:
        make: fills the empty folder that it is given, which bears another name until it is whole.

    Raises:
        DataError: no folder can be made there.
        Exception: whatever ``make`` raises; then nothing stays of what it made.
    """
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
    """Let one process at a time work on ``path``: the lock is a file beside it, in a folder that must exist."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        tell = Timer(PATIENCE, logger.info, ("waiting for another process, which makes %s", path))
        tell.start()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        finally:
            tell.cancel()
        yield
