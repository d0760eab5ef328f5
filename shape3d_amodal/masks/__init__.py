"""Masks as run-length codes: encoding, decoding, area, set operations; also order in depth, clusters and outlines."""

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
