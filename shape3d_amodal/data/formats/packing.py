"""Polygons and runs as arrays from the moment that they are parsed: Python's numbers take four times their memory."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

MASK_KEYS = ("segmentation", "visible_mask", "invisible_mask", "inmodal_seg", "a_segm", "i_segm")


def pack_masks(record: dict[str, Any]) -> dict[str, Any]:
    """``record`` with the polygons of its masks as float64 and its runs as int64; what is no list of numbers stays.

    Made for ``json``'s ``object_hook``, so that no more than one object's lists exist at a time.
    """
    for key in MASK_KEYS:
        value = record.get(key)
        if type(value) is list and value:
            several = type(value[0]) is list
            record[key] = [_floats(polygon) for polygon in value] if several else _floats(value)
    counts = record.get("counts")
    if type(counts) is list:
        record["counts"] = _integers(counts)
    return record


def _floats(numbers: Any) -> Any:
    try:
        return np.frombuffer(array("d", numbers))
    except (TypeError, OverflowError):
        return numbers


def _integers(numbers: Any) -> Any:
    try:
        return np.frombuffer(array("q", numbers), dtype=np.int64)
    except (TypeError, OverflowError):
        return numbers
