"""Numbers that JSON does not allow, or that float64 cannot hold, and the places where they stand in a text."""

from __future__ import annotations

import math
import re
from typing import NoReturn


class BadNumberError(ValueError):
    """A number that is refused.

    Args:
        problem: what was expected and what came.
        number: its text.
    """

    def __init__(self, problem: str, number: str) -> None:
        super().__init__(problem)
        self.number = number


def finite(text: str) -> float:
    """The number ``text``; a ``BadNumberError`` where it lies beyond float64."""
    number = float(text)
    if math.isinf(number):
        raise BadNumberError(f"expected numbers within float64, got {text[:40]}", text)
    return number


def refuse_constant(text: str) -> NoReturn:
    """Refuse NaN and the infinities, which are no JSON."""
    raise BadNumberError(f"expected finite numbers, got {text}", text)


def place_of(text: str, number: str) -> str:
    """Line and column, from 1 on, of the first ``number`` in the JSON ``text`` that is not part of a string."""
    pattern = rf'"[^"\\]*(?:\\.[^"\\]*)*"|(?<![\w.+-])({re.escape(number)})(?![\w.+-])'
    found = (match.start() for match in re.finditer(pattern, text, re.DOTALL) if match[1])
    at = next(found, text.find(number))  # the number may run into other damage
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"
