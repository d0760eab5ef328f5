"""The EXIF orientation of images: which way up a camera was held when it wrote the pixels.

Only the one tag is looked for, by a few steps through the data: a general reader would follow each entry that a
made-up file lists, and copy gigabytes.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Literal, get_args

from PIL.Image import Image, Transpose

from shape3d_amodal.errors import check_choice

Orientation = Literal["exif", "stored"]
"""How pixels are read: turned upright as EXIF says, or in the order in which the file stores them."""

_TAG = 0x0112
_TYPES = {1: "B", 3: "H", 4: "I"}
"""Types of integers in TIFF that writers use for the tag (it should be 3)."""
_XMP = re.compile(r'tiff:Orientation(?:="|>)([1-8])')
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
"""Orientations in which the stored width is the upright height."""
_SEGMENTS = frozenset(bytes([marker]) for marker in (*range(0xC0, 0xC8), *range(0xC9, 0xD0), *range(0xDB, 0xF0), 0xFE))
"""JPEG markers that a length and content follow."""
_MAX_STEPS = 200_000
"""Segments and bytes between them that may come before the pixels of a JPEG file."""


def check_orientation(orientation: object) -> None:
    """
    Raises:
        UsageError: it is none of ``Orientation``.
    """
    check_choice("orientation", orientation, get_args(Orientation))


def upright(image: Image, orientation: int) -> Image:
    """The ``image`` as it is stored, turned and mirrored as the tag ``orientation`` (1 to 8) says."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def orientation_of(image: Image, exif: bytes | None) -> int:
    """The orientation, 1 to 8, of a decoded image; 1 where the file tells none.

    Args:
        exif: the EXIF data of a JPEG file (``split_jpeg``); those of PNG files are found in ``image``.

    Raises:
        ValueError: there are EXIF data, but they are damaged.
    """
    found = image.info.get("exif") if exif is None else exif
    if found is None and "Raw profile type exif" in image.info:  # as ImageMagick writes it into PNG
        found = bytes.fromhex("".join(str(image.info["Raw profile type exif"]).split("\n")[3:]))
    value = None if found is None else _tag_value(found)
    if value is None:
        xmp: Any = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or ""
        match = _XMP.search(xmp if isinstance(xmp, str) else xmp.decode("latin-1"))
        value = int(match[1]) if match else 1
    return value if value in _UPRIGHT else 1


def split_jpeg(data: bytes) -> tuple[bytes, bytes | None]:
    """A JPEG file without its EXIF segments, and the content of the first of them, if there is one.

    The decoder never sees them: it would join thousands of segments one by one, and parse what they hold.

    Raises:
        ValueError: no pixels come after a great many bytes of other things.
    """
    kept: list[bytes] = []
    exif, begin, at, steps = None, 0, 2, 0
    while (start := data.find(b"\xff", at)) >= 0:  # decoders skip what stands between segments, too
        steps += 1 + start - at
        if steps > _MAX_STEPS:
            raise ValueError("no pixels found")
        marker = data[start + 1 : start + 2]
        if not marker or marker == b"\xda":  # the end, or the pixels
            break
        at = start + (1 if marker == b"\xff" else 2)
        if marker in _SEGMENTS:
            at += int.from_bytes(data[at : at + 2], "big")
            if marker == b"\xe1" and data[start + 4 : start + 10] == b"Exif\0\0":
                exif = data[start + 10 : at] if exif is None else exif
                kept.append(data[begin:start])
                begin = at
    return (b"".join([*kept, data[begin:]]), exif) if kept else (data, None)


def _tag_value(exif: bytes) -> int | None:
    """The value of the orientation tag in EXIF data; None where they lack it."""
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("expected EXIF data that start with II or MM")
    try:
        magic, offset = struct.unpack_from(f"{order}HI", data, 2)
        if magic not in (42, 42 << 8):
            raise ValueError(f"expected the number 42 in the header, got {magic}")
        (entries,) = struct.unpack_from(f"{order}H", data, offset)
        for entry in range(offset + 2, offset + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry)
            if tag == _TAG:
                if kind not in _TYPES or count != 1:
                    raise ValueError("expected one integer as orientation")
                value: int = struct.unpack_from(order + _TYPES[kind], data, entry + 8)[0]
                return value
    except struct.error:
        raise ValueError("the EXIF data end early") from None
    return None
