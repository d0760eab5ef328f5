"""Files that appear whole or not at all: written under a temporary name beside them, synced, then renamed.

A link is written through, so that it stays a link. What is no regular file (a device, a pipe) is never replaced: the
content goes into it. ``-`` and ``/dev/stdout`` are standard output.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from shape3d_amodal.errors import DataError, printable

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp")
_STDOUT = frozenset(("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"))


def is_stdout(path: str | Path) -> bool:
    """Whether ``path`` means standard output."""
    return str(path) in _STDOUT


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to, which is renamed to ``path`` at the end of the block; the folder must exist.

    A crash leaves the old file or none, never a part. A killed process may leave a temporary file beside ``path``; see
    ``remove_leftovers``.

    Raises:
        DataError: the file cannot be written, or ``path`` is a folder.
    """
    if is_stdout(path):
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(path)
    try:
        if is_stream(path):
            with path.open("wb") as stream:
                yield stream
        else:
            with _renamed_at_the_end(_target(path)) as file:
                yield file
    except OSError as error:
        remedy = "check folder and space"
        if isinstance(error, _TakenAwayError):
            remedy = "another process writes it, too; run one alone"
        raise DataError(f"cannot write the file ({error.strerror}); {remedy}", file=path) from error


class _TakenAwayError(OSError):
    """Somebody has removed the temporary file."""


@contextmanager
def _renamed_at_the_end(target: Path) -> Iterator[BinaryIO]:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            temporary.replace(target)
        except FileNotFoundError as error:
            raise _TakenAwayError(error.errno, error.strerror) from error
    finally:
        temporary.unlink(missing_ok=True)  # an interrupt must not leave it, either


def _target(path: Path) -> Path:
    """The file that ``path`` leads to by links, which need not exist."""
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise DataError("cannot write the file (its links lead in a circle); name another", file=path) from error


def is_stream(path: Path) -> bool:
    """Whether ``path`` leads to a device or a pipe, such as standard output.

    Raises:
        DataError: it leads to a folder.
    """
    if is_stdout(path):
        return True
    try:
        mode = path.stat().st_mode  # of what a link leads to: /dev/fd/63 is a link to a pipe that has no name
    except (OSError, ValueError):
        return False
    if stat.S_ISDIR(mode):
        raise DataError("expected the name of a file to write, got a folder; name a file in it", file=path)
    return not stat.S_ISREG(mode)


def remove_leftovers(path: str | Path) -> None:
    """Remove the temporary files that killed writers of ``path`` have left."""
    path = _target(Path(path))
    for leftover in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def remove_leftovers_in(folder: Path, belongs: Callable[[str], bool]) -> None:
    """Remove the temporary files that killed writers have left in ``folder``, which need not exist.

    Args:
        belongs: whether a file of this name is the caller's.
    """
    for leftover in folder.glob(".*.tmp"):
        name = _TEMPORARY.fullmatch(leftover.name)
        if name is not None and belongs(name[1]):
            leftover.unlink(missing_ok=True)


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` as to an ``atomic_file``."""
    with atomic_file(path) as file:
        file.write(data)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8; file names in it that are none are made ``printable``."""
    write_atomic(path, printable(text).encode("utf-8"))


def write_json_atomic(path: str | Path, value: Any) -> None:
    """Write ``value`` to ``path`` as JSON, which knows no NaN and infinity: they are a ValueError."""
    write_atomic(path, (json.dumps(value, allow_nan=False) + "\n").encode("utf-8"))


def make_folder(path: str | Path) -> None:
    """Make the folder ``path`` and its parents where they are missing, or raise a DataError."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder ({error.strerror}); choose another", file=path) from error
