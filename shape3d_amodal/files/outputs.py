"""Where a command may write, asked before its work: never over what it reads, and only where it can.

Nothing is made yet; each function returns its path, checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.files.atomic import is_stdout, is_stream


def output_file(
    path: Path, *, inputs: Iterable[str | Path | None] = (), option: str = "--out", stdout: bool = False
) -> Path:
    """``path`` as a file to write.

    Args:
        inputs: files and folders that the command reads; None stands for one that is not given.
        option: the option that named ``path``, for messages.
        stdout: whether it may be standard output.

    Raises:
        UsageError: ``path`` is empty, a folder, standard output that may not be, or one of ``inputs``, by whatever name
            or link.
        DataError: nothing can be written there.
    """
    if is_stdout(path):
        if not stdout:
            raise UsageError(f"{option}: expected the name of a file to write, got {path} (standard output); name one")
        return path
    if path.is_dir():  # Path("") is the current folder
        raise UsageError(f"{option}: expected the name of a file to write, got the folder {path}; name a file in it")
    refuse_inputs([path], inputs, option=option)
    if not is_stream(path):
        _try((path.resolve() if path.is_symlink() else path).parent)
    return path


def output_folder(
    path: Path, *, writes: Iterable[str] = (), inputs: Iterable[str | Path | None] = (), option: str = "--out"
) -> Path:
    """``path`` as a folder to write files to.

    Args:
        writes: what is written there: names of files and of folders.
        inputs: files that the command reads; None stands for one that is not given.
        option: the option that named ``path``, for messages.

    Raises:
        UsageError: ``path`` is empty or a file, or one of ``inputs`` would be overwritten.
        DataError: nothing can be written there.
    """
    if is_stdout(path):
        raise UsageError(f"{option}: expected a folder to write to, got {path} (standard output); name one")
    if path.exists() and not path.is_dir():
        raise UsageError(f"{option}: expected a folder to write to, got the file {path}; name another")
    refuse_inputs([path / name for name in writes], inputs, option=option)
    _try(path)
    return path


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[str | Path | None], *, option: str = "--out") -> None:
    """Refuse outputs that are inputs, by whatever name, hard or symbolic link, and folders in which an input lies.

    Raises:
        UsageError: naming the input.
    """
    existing = {identity: output for output in outputs if (identity := _identity(output)) is not None}
    if not existing:
        return
    with_folders = any(output.is_dir() for output in existing.values())
    for one in (Path(name).absolute() for name in inputs if name is not None):
        for place in (one, *one.parents) if with_folders else (one,):
            spoilt = existing.get(_identity(place) or (0, 0))
            if spoilt is not None:
                raise UsageError(f"{option}: {spoilt} would overwrite the input {one}; name another")


def refuse_within(output: Path, folder: str | Path | None, *, option: str = "--out") -> None:
    """Refuse an output inside ``folder``, a folder of inputs of any names; None refuses nothing.

    Raises:
        UsageError: naming both.
    """
    if folder is not None and Path(folder).is_dir() and output.resolve().is_relative_to(Path(folder).resolve()):
        raise UsageError(f"{option}: {output} lies in the folder of inputs {folder}; name another")


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of a file, the same under all of its names; None where there is none that can be looked at."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _try(folder: Path) -> None:
    """Write a file in ``folder``, or in the nearest one above it that exists, and remove it: permissions alone do not
    tell, as for root or on a full disk."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise DataError(f"cannot make the folder ({there} is a file); choose another", file=folder)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise DataError(f"cannot write in the folder ({error.strerror}); choose another", file=there) from error
