"""Long work on arrays in parts that stay on disk, so that a process that was stopped loses at most one of them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.files.atomic import make_folder, write_atomic
from shape3d_amodal.files.progress import progress

Arrays = TypeVar("Arrays")
Task = TypeVar("Task")


def in_parts(
    folder: Path,
    kind: type[Arrays],
    tasks: Sequence[Task],
    run: Callable[[Iterable[Task]], Iterator[Any]],
    join: Callable[[list[Any]], Arrays],
    *,
    size: int,
    description: str,
    unit: str,
) -> list[Arrays]:
    """The parts of all ``tasks``, in their order; those that ``folder`` has already are not made again.

    Args:
        folder: kept for the same tasks alone; who has joined the parts may remove it.
        kind: a dataclass of arrays: a part.
        tasks: what to do.
        run: does tasks; gives a result for each, in their order.
        join: makes a part of the results of some tasks.
        size: number of tasks in a part.
        description, unit: for ``progress``.

    Raises:
        DataError: a part cannot be written.
    """
    make_folder(folder)
    groups = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    files = [folder / f"{number:05d}.npz" for number in range(len(groups))]
    parts = [_read(file, kind) for file in files]
    left = [number for number, part in enumerate(parts) if part is None]
    todo = [task for number in left for task in groups[number]]
    results: list[Any] = []
    for result in progress(run(todo), description, len(tasks), done=len(tasks) - len(todo), unit=unit):
        results.append(result)
        if len(results) == len(groups[left[0]]):
            part = parts[left[0]] = join(results)
            _write(files[left.pop(0)], part)
            results = []
    return [part for part in parts if part is not None]


def _write(file: Path, part: Any) -> None:
    buffer = BytesIO()
    np.savez(buffer, **arrays_of(part))  # type: ignore[arg-type]  # mypy takes a name for that of an option
    write_atomic(file, buffer.getvalue())


def _read(file: Path, kind: type[Arrays]) -> Arrays | None:
    """None where the part is missing, or damaged: then it is made again."""
    try:
        with np.load(file) as content:
            names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # it is a dataclass
            return kind(**{name: content[name] for name in names.intersection(content.files)})
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile):  # TypeError: an array is missing
        return None


def joined(parts: Sequence[Arrays]) -> Arrays:
    """The rows of dataclasses of arrays of one kind (at least one) one after another; what one lacks, all do."""
    named = [arrays_of(part) for part in parts]
    shared = [name for name in named[0] if all(name in arrays for arrays in named)]
    return type(parts[0])(**{name: np.concatenate([arrays[name] for arrays in named]) for name in shared})


def arrays_of(part: Any) -> dict[str, NDArray[Any]]:
    """The arrays of a dataclass by their names, without those that it lacks."""
    named = {field.name: getattr(part, field.name) for field in fields(part)}
    return {name: array for name, array in named.items() if array is not None}
