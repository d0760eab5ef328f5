"""Masks as run-length codes: encoding, decoding, area, set operations; also order in depth, clusters and outlines.

The functions of ``rle`` stand here, too; they are imported with the first use of one, since they need compiled code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shape3d_amodal.masks.rle import area as area
    from shape3d_amodal.masks.rle import bbox as bbox
    from shape3d_amodal.masks.rle import check_size as check_size
    from shape3d_amodal.masks.rle import crop as crop
    from shape3d_amodal.masks.rle import decode as decode
    from shape3d_amodal.masks.rle import empty as empty
    from shape3d_amodal.masks.rle import encode as encode
    from shape3d_amodal.masks.rle import from_annotation as from_annotation
    from shape3d_amodal.masks.rle import from_rle as from_rle
    from shape3d_amodal.masks.rle import occlude_rate as occlude_rate
    from shape3d_amodal.masks.rle import overlap as overlap
    from shape3d_amodal.masks.rle import runs as runs
    from shape3d_amodal.masks.rle import subtract as subtract
    from shape3d_amodal.masks.rle import union as union

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from shape3d_amodal.masks import rle

    return getattr(rle, name)
