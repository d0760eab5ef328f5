"""Typed access to the fields of a JSON record, with errors that name file and field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from shape3d_amodal.errors import DataError

T = TypeVar("T")

_NAMES = {dict: "an object", list: "a list", str: "text", int: "an integer", bool: "true or false", type(None): "null"}


class Record:
    """One JSON object of a file. Every method raises ``DataError`` naming ``file`` and the field at fault."""

    __slots__ = ("field", "file", "values")

    def __init__(self, value: Any, file: str | Path, field: str) -> None:
        if type(value) is not dict:
            raise DataError(f"expected an object, got {_name(value)}", file=file, field=field or None)
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
            remedy = f" {value}; write it without a point" if kind is int and type(value) is float else ""
            raise self.error(key, f"expected {_NAMES[kind]}, got {_name(value)}{remedy}")
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Like ``get``, but None where ``key`` is missing or null."""
        return None if self.values.get(key) is None else self.get(key, kind)

    def flag(self, key: str) -> bool:
        """The value of an optional 0/1 field; False where it is missing."""
        value = self.values.get(key, 0)
        if value not in (0, 1) or isinstance(value, float):
            raise self.error(key, "expected 0 or 1")
        return bool(value)

    def number(self, key: str) -> float:
        value = self.values.get(key)
        if not is_number(value):
            raise self.error(key, f"expected a finite number, got {_name(value)}")
        return float(value)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite number that float64 can hold."""
    if type(value) is int:
        return abs(value) < 2**1023
    return type(value) is float and math.isfinite(value)


def _name(value: Any) -> str:
    return _NAMES.get(type(value), "a number")
