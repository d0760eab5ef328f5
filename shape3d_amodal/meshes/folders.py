"""Files in a folder and in all folders below it, behind symbolic links too, and what on the way cannot be read."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

MAX_VISITS = 16
"""How many links to one folder are followed, so that a web of links ends."""

Place = tuple[Path, ...]
"""The real path of a folder, and before it those of the folders with the links that led there."""


@dataclass(frozen=True)
class FolderListing:
    """What lies in a folder, by its path from there, ``/`` between the parts.

    Attributes:
        files: regular files with one of the suffixes, in the order of their paths' parts.
        skipped: links that lead nowhere or back, what is no regular file, folders that cannot be read, and files that
            ``list_folder`` was told of, with the reason.
    """

    files: dict[str, Path]
    skipped: dict[str, str]


def list_folder(
    folder: Path, suffixes: Container[str], why_not: Callable[[str], str | None] = lambda _: None
) -> FolderListing:
    """The files below ``folder`` with one of ``suffixes`` (small letters).

    Links are followed, but not to a folder in which the link itself lies, and at most ``MAX_VISITS`` of those that lead
    to one folder.

    Args:
        why_not: says of the name of any other file why it is listed as skipped; None where it is passed over.

    Raises:
        OSError: ``folder`` itself cannot be read.
    """
    with os.scandir(folder):
        pass
    files: dict[str, Path] = {}
    skipped: dict[str, str] = {}
    visits: Counter[Path] = Counter()
    places: dict[Path, Place] = {folder: (Path(os.path.realpath(folder)),)}

    def unreadable(error: OSError) -> None:
        skipped[_name(Path(error.filename), folder)] = f"cannot read the folder ({error.strerror})"

    for text, below, others in os.walk(folder, followlinks=True, onerror=unreadable):
        here = Path(text)
        place = places.pop(here)
        below.sort()
        for name in tuple(below):
            path = here / name
            if not path.is_symlink():
                places[path] = (*place[:-1], place[-1] / name)
                continue
            real = Path(os.path.realpath(path))
            visits[real] += 1
            if why := _why_not_entered(real, place, visits[real]):
                skipped[_name(path, folder)] = why
                below.remove(name)
            else:
                places[path] = (*place, real)
        for name in others:
            path = here / name
            if why := why_unusable(path):
                skipped[_name(path, folder)] = why
            elif path.suffix.lower() in suffixes:
                files[_name(path, folder)] = path
            elif why := why_not(name):
                skipped[_name(path, folder)] = why
    return FolderListing(dict(sorted(files.items(), key=_parts)), dict(sorted(skipped.items(), key=_parts)))


def why_unusable(path: Path) -> str | None:
    """Why ``path`` is neither a folder nor a regular file, such as a link that leads nowhere; None where it is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return f"a link that leads nowhere ({error.strerror}): {str(path.readlink())[:200]!r}"
        return f"cannot be read ({error.strerror})"
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "expected a regular file, got a pipe or device"


def _why_not_entered(real: Path, place: Place, visits: int) -> str | None:
    """Why a link in ``place`` to the folder ``real`` is not followed; None where it is."""
    if any(one.is_relative_to(real) for one in place):
        return f"a link to a folder in which it lies, {str(real)[:200]!r}"
    if visits > MAX_VISITS:
        return f"more than {MAX_VISITS} links lead to this folder, {str(real)[:200]!r}"
    return None


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _parts(entry: tuple[str, object]) -> list[str]:
    return entry[0].split("/")
