"""JSON records as they are read: masks packed into arrays, and checked access to fields, with errors that name them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import numpy as np

from shape3d_amodal.errors import DataError

T = TypeVar("T")

_NAMES = {dict: "an object", list: "a list", str: "text", int: "an integer", bool: "true or false", type(None): "null"}


class Record:
    """One JSON object of a file. Every method raises ``DataError`` naming ``file`` and the field at fault."""

    __slots__ = ("field", "file", "values")

    def __init__(self, value: Any, file: str | Path, field: str) -> None:
        if type(value) is not dict:
            raise DataError(f"expected an object, got {told(value)}", file=file, field=field or None)
        self.values: dict[str, Any] = value
        self.file = file
        self.field = field

    def place(self, key: str) -> str:
        return f"{self.field}.{key}" if self.field else key

    def error(self, key: str, problem: str) -> DataError:
        return DataError(problem, file=self.file, field=self.place(key))

    def get(self, key: str, kind: type[T]) -> T:
        """The value of ``key``, which must be there and be exactly a ``kind`` (so no boolean for an integer)."""
        value = self.values.get(key)
        if type(value) is not kind:
            if key not in self.values:
                raise self.error(key, f"missing; expected {_NAMES[kind]}")
            remedy = "; write it without a point" if kind is int and type(value) is float else ""
            raise self.error(key, f"expected {_NAMES[kind]}, got {told(value)}{remedy}")
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Like ``get``, but None where ``key`` is missing or null."""
        return None if self.values.get(key) is None else self.get(key, kind)

    def flag(self, key: str) -> bool:
        """The value of an optional field of 0 or 1, which may be written as 0.0 or false; False where it is missing."""
        value = self.values.get(key)
        if value is not None and value not in (0, 1):
            raise self.error(key, f"expected 0 or 1, got {told(value)}")
        return bool(value)

    def number(self, key: str) -> float:
        value = self.values.get(key)
        if not is_number(value):
            raise self.error(key, f"expected a finite number, got {told(value)}")
        return float(value)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite number that float64 can hold."""
    if type(value) is int:
        return abs(value) < 2**1023
    return type(value) is float and math.isfinite(value)


def told(value: Any) -> str:
    """What stands in a file, for messages: short and on one line, whatever it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"a number {value!r}"
    if isinstance(value, int):
        return f"an integer {value}" if abs(value) < 10**18 else "a huge integer"
    if isinstance(value, str):
        return f"text {value[:40]!r}{'...' if len(value) > 40 else ''}"
    if isinstance(value, (list, np.ndarray)):
        return f"a list of {len(value)}" if len(value) else "an empty list"
    return _NAMES.get(type(value), "an object")


def is_nothing(value: Any) -> bool:
    """Whether a mask is not there: null, or an empty list of polygons, ``[]`` or ``[[]]``, as tools write it."""
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(one, (list, np.ndarray)) and len(one) == 0 for one in value)


def pack_masks(record: dict[str, Any], *, keys: Iterable[str]) -> dict[str, Any]:
    """``record`` with its polygons as int16 or float64 arrays and its runs as int64; other values stay as they are.

    Python's numbers take four times the memory. As ``object_hook`` of ``json`` it packs each object as soon as it is
    parsed, so that the lists of only one object exist at a time.

    Args:
        keys: the keys of masks.
    """
    for key in keys:
        value = record.get(key)
        if type(value) is list and value:
            several = type(value[0]) is list
            record[key] = [_polygon(polygon) for polygon in value] if several else _polygon(value)
    counts = record.get("counts")
    if type(counts) is list:
        record["counts"] = _packed(counts, "q")
    return record


def _polygon(numbers: Any) -> Any:
    fractions = type(numbers) is list and numbers and type(numbers[0]) is float
    return _packed(numbers, "d" if fractions else "hd")


def _packed(numbers: Any, types: str) -> Any:
    """``numbers`` as an array of the first of ``types`` that holds them all, or as they are."""
    try:
        return np.frombuffer(array(types[0], numbers), dtype=types[0])
    except (TypeError, OverflowError):
        return _packed(numbers, types[1:]) if types[1:] else numbers
