"""Files that appear whole or not at all: written under a temporary name beside them, synced, then renamed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from shape3d_amodal.errors import DataError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to, which is renamed to ``path`` at the end of the block; the folder must exist.

    A crash leaves the old file or none, never a part. A killed process may leave a temporary file beside ``path``; see
    ``remove_leftovers``.

    Raises:
        DataError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # an interrupt must not leave the temporary file, either
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            remedy = "check folder and space"
            if isinstance(error, FileNotFoundError) and path.parent.is_dir():  # somebody removed the temporary file
                remedy = "another process writes it, too; run one alone"
            raise DataError(f"cannot write the file ({error.strerror}); {remedy}", file=path) from error
        raise


def remove_leftovers(path: str | Path) -> None:
    """Remove the temporary files that killed writers of ``path`` have left."""
    path = Path(path)
    for leftover in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` as to an ``atomic_file``."""
    with atomic_file(path) as file:
        file.write(data)


def write_json_atomic(path: str | Path, value: Any) -> None:
    """Write ``value`` to ``path`` as JSON, which knows no NaN and infinity: they are a ValueError."""
    write_atomic(path, (json.dumps(value, allow_nan=False) + "\n").encode("utf-8"))


def make_folder(path: str | Path) -> None:
    """Make the folder ``path`` and its parents where they are missing, or raise a DataError."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder ({error.strerror}); choose another", file=path) from error


def move_all(source: Path, target: Path) -> None:
    """Move the files of folder ``source`` into folder ``target``, which is made where it is missing."""
    make_folder(target)
    for path in sorted(source.iterdir()):
        shutil.move(path, target / path.name)
