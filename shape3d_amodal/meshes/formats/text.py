"""Text files of numbers: their encoding, and all numbers at once with the lines that they stand in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shape3d_amodal.errors import DataError

_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""Byte order marks of UTF-16 and UTF-32."""


@dataclass(frozen=True)
class Numbers:
    """Numbers of a text.

    Attributes:
        values: [T] float64.
        lines: [L] int64, the position in ``values`` of the first number of each line that has any.
    """

    values: np.ndarray
    lines: np.ndarray

    @property
    def per_line(self) -> np.ndarray:
        """How many numbers each line has [L]."""
        return np.diff(self.lines, append=len(self.values))


def without_mark(data: bytes) -> bytes:
    """``data`` without the byte order mark of UTF-8.

    Raises:
        DataError: the text has the byte order mark of UTF-16 or UTF-32.
    """
    if data.startswith(_OTHER_MARKS):
        raise DataError("expected UTF-8 or ASCII text, got UTF-16 or UTF-32; save the file as UTF-8")
    return data.removeprefix(b"\xef\xbb\xbf")


def numbers(text: bytes, field: str) -> Numbers:
    """The numbers of ``text``, which holds nothing else. Its lines end in ``\\n``, ``\\r\\n`` or ``\\r``.

    Raises:
        DataError: a word is no number.
    """
    signs = np.frombuffer(text, np.uint8)
    space = (signs == 32) | ((signs >= 9) & (signs <= 13))
    begins = np.flatnonzero(~space & np.concatenate([[True], space[:-1]]))
    line = np.searchsorted(np.flatnonzero((signs == 10) | (signs == 13)), begins)
    lines = np.flatnonzero(np.diff(line, prepend=-1))
    try:
        values = np.fromstring(text, dtype=np.float64, sep=" ")
    except ValueError:
        values = None
    if values is None or len(values) != len(begins):  # such as 1.5.3, which numpy reads as two numbers
        raise DataError(f"expected numbers, got {_first_wrong(text)!r}; export the mesh anew", field=field)
    return Numbers(values, lines)


def as_integers(values: np.ndarray, field: str) -> np.ndarray:
    """``values`` as int64.

    Raises:
        DataError: one is no integer.
    """
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    if (whole != values).any():
        wrong = values[whole != values][0]
        raise DataError(f"expected integers, got {wrong:g}; export the mesh anew", field=field)
    return whole


def _first_wrong(text: bytes) -> str:
    word = next((word for word in text.split() if not _is_number(word)), b"words such as 1_000")
    return word[:20].decode("ascii", "replace")


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
