"""Masks as run lengths: encoded, decoded, counted and combined; beside them order in depth and outlines."""

from __future__ import annotations

from shape3d_amodal.masks.rle import (
    area,
    bbox,
    check_size,
    crop,
    decode,
    empty,
    encode,
    from_annotation,
    from_rle,
    occlude_rate,
    overlap,
    runs,
    subtract,
    union,
)

__all__ = [
    "area",
    "bbox",
    "check_size",
    "crop",
    "decode",
    "empty",
    "encode",
    "from_annotation",
    "from_rle",
    "occlude_rate",
    "overlap",
    "runs",
    "subtract",
    "union",
]
