"""Polygons and runs as arrays from the moment that they are parsed: Python's numbers take four times their memory."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

MASK_KEYS = ("segmentation", "visible_mask", "invisible_mask", "inmodal_seg", "a_segm", "i_segm")


def pack_masks(record: dict[str, Any]) -> dict[str, Any]:
    """``record`` with its polygons as int16 or float64 and its runs as int64; what is no list of numbers stays.

    Made for ``json``'s ``object_hook``, so that no more than one object's lists exist at a time.
    """
    for key in MASK_KEYS:
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
