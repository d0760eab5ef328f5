"""What frozen dataclasses with arrays need: a short text, and ``==`` that gives one answer.

The ones that Python makes print whole arrays, and compare them to arrays of answers, which raises. Such a class is
declared by ``@dataclass(frozen=True, eq=False, repr=False)`` and derived from ``ArrayFields``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

_LONGEST = 80
"""Letters, at most, of the text of one field."""


class ArrayFields:
    """A dataclass whose fields may be numpy arrays, torch tensors, or sequences of them."""

    __hash__ = None  # type: ignore[assignment]  # as of all that is compared by value and holds what can change

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={short(value)}' for name, value in _items(self))})"

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal: arrays in dtype, shape and every number."""
        if type(other) is not type(self):
            return NotImplemented
        return all(same(value, getattr(other, name)) for name, value in _items(self))


def short(value: Any) -> str:
    """One short text: the dtype and shape of an array, the beginning of anything else."""
    if _is_array(value):
        return f"{str(value.dtype).removeprefix('torch.')}[{','.join(map(str, value.shape))}]"
    if isinstance(value, (list, tuple)) and value and _is_array(value[0]):
        return f"[{len(value)} of {short(value[0])}]"
    text = repr(value) if isinstance(value, ArrayFields) else reprlib.repr(value)
    return text if len(text) <= _LONGEST or isinstance(value, ArrayFields) else f"{text[:_LONGEST]}..."


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, also where they are or hold arrays; tensors on two devices may be equal."""
    if one is other:
        return True
    if _is_array(one) and _is_array(other):
        if type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
            return False
        return bool((_at_hand(one) == _at_hand(other)).all())
    if _is_array(one) or _is_array(other):
        return False
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _items(record: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(record):
        yield field.name, getattr(record, field.name)


def _is_array(value: Any) -> bool:
    """Whether it is an array or a tensor; torch is not imported for the question."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _at_hand(array: Any) -> Any:
    """A tensor on the CPU, a sparse one as its numbers; an array as it is."""
    if not hasattr(array, "detach"):
        return array
    array = array.detach().cpu()
    return array.to_dense() if array.is_sparse else array
