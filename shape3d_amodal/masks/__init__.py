"""Masks as run-length codes: encoding, decoding, area, set operations; also order in depth, clusters and outlines."""

from __future__ import annotations

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
