"""The errors a user may meet. Each message is one line: what was expected, what came, what to do.

The command line turns them into an exit status (``exit_status``) without a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from numbers import Integral
from pathlib import Path
from typing import ClassVar


def listed(names: Iterable[str], most: int = 20) -> str:
    """``names`` for a message: all, or the first of many with the number of the others."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``name`` may have meant, for "did you mean ...?"; None where all are far from it.

    Of names with folders, such as ``baselines/unet2d``, the last part will do. Capitals, and spaces around, are no
    matter.
    """
    import difflib

    name = name.strip().casefold()
    whole = {one.casefold(): one for one in known}
    ends = {key.rpartition("/")[2]: one for key, one in whole.items()}
    alike = [whole[one] for one in difflib.get_close_matches(name, whole, n=1)]
    alike += [ends[one] for one in difflib.get_close_matches(name.rpartition("/")[2], ends, n=1)]
    return alike[0] if alike else None


def meant(name: str, known: Iterable[str]) -> str:
    """What a message about ``name`` adds: " (did you mean 'chair'?)"; empty where none is near."""
    near = nearest(name, known)
    return f" (did you mean {near!r}?)" if near else ""


def counted(number: int, one: str, many: str = "", *, digits: str = "") -> str:
    """How many there are, in words that fit: "1 object", "2 objects".

    Args:
        many: what several are called; by default ``one`` with an s.
        digits: how the number is written, as in format strings: ``,`` sets thousands apart.
    """
    return f"{number:{digits}} {one if number == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """``text`` that can be written as UTF-8: the bytes of file names that are none (``surrogateescape``) become U+FFFD.

    Names that Python could not read in the locale's encoding, but are UTF-8, are read.
    """
    return _LONE.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte


def without_values(message: str) -> str:
    """``message`` without numbers and what stands in single quotes, which differ in messages of one kind."""
    return _VALUE.sub("", message)


_VALUE = re.compile(r"'.*?'|-?[\d.]+")


class AmodalError(Exception):
    """Base of every error that is the user's to mend."""

    exit_status: ClassVar[int] = 1


class UsageError(AmodalError):
    """A wrong option or configuration."""

    exit_status = 2


class DataError(AmodalError):
    """A foreign file (image, annotation, mesh, weights) that cannot be used.

    Args:
        problem: what was expected, what came and what to do, without the place.
        file: the file at fault, where there is one.
        field: the place inside the file, e.g. ``annotations[3].visible_mask.counts``.
    """

    exit_status = 3

    def __init__(self, problem: str, *, file: str | Path | None = None, field: str | None = None) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.field = field
        place = ": ".join(part for part in (self.file, field) if part)
        super().__init__(" ".join(f"{place}: {problem}".split() if place else problem.split()))


class WeightsError(DataError):
    """Weights that are missing, damaged or made for something else."""


class MissingBackendError(AmodalError):
    """An optional library or device that a request needs and that is not there."""

    exit_status = 4


class TrainingError(AmodalError):
    """Training that cannot go on: a NaN loss, a full disk, a checkpoint of another configuration."""


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Refuse an argument that is none of the words ``choices``.

    Args:
        name: of the argument.

    Raises:
        UsageError: naming what came.
    """
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{name}: expected {', '.join(choices)}, got {value!r:.60}")


def check_path(name: str, value: object) -> None:
    """Refuse an argument that is no path, and no name.

    Args:
        name: of the argument.

    Raises:
        UsageError: naming what came.
    """
    if not isinstance(value, (str, Path)) or not str(value):
        raise UsageError(f"{name}: expected a name or a path, got {value!r:.60}")


def check_whole(name: str, value: object, what: str, *, most: int | None = None) -> None:
    """Refuse an argument that is no whole number from 0 to ``most``; numpy's integers are whole, booleans are not.

    Args:
        name: of the argument.
        what: what it is, such as "number of pixels".

    Raises:
        UsageError: naming what came.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise UsageError(f"{name}: expected a whole {what}, 0 or more, got {value!r}")
    if int(value) < 0:
        raise UsageError(f"{name}: expected a {what}, 0 or more, got {value}")
    if most is not None and int(value) > most:
        raise UsageError(f"{name}: expected a {what}, {most} or fewer, got {value}")
