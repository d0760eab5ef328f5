"""PNG and JPEG files with EXIF data, put together from the texts of EXIF, TIFF, JPEG and PNG; no library is asked."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def place(orientation: int, row: int, column: int, height: int, width: int) -> tuple[int, int]:
    """Row and column at which a viewer shows a stored pixel.

    EXIF 2.32, 4.6.4 A: the first stored row and the first stored column are what one sees as 1 top, left; 2 top, right;
    3 bottom, right; 4 bottom, left; 5 left, top; 6 right, top; 7 right, bottom; 8 left, bottom.
    """
    last_row, last_column = height - 1 - row, width - 1 - column
    return {
        1: (row, column),
        2: (row, last_column),
        3: (last_row, last_column),
        4: (last_row, column),
        5: (column, row),
        6: (column, last_row),
        7: (last_column, last_row),
        8: (last_column, row),
    }[orientation]


def shown(stored: np.ndarray, orientation: int) -> np.ndarray:
    """The stored image [H,W,3] as a viewer shows it, pixel by pixel."""
    height, width = stored.shape[:2]
    sideways = orientation >= 5
    visual = np.zeros((width, height, 3) if sideways else (height, width, 3), stored.dtype)
    for row in range(height):
        for column in range(width):
            visual[place(orientation, row, column, height, width)] = stored[row, column]
    return visual


def exif(orientation: int, *, order: str = "<", kind: int = 3, before: int = 0, count: int = 1) -> bytes:
    """EXIF data: a TIFF header and one directory, in which ``before`` other tags come first."""
    entries = [struct.pack(f"{order}HHI4s", 0x0100 + tag, 4, 1, b"") for tag in range(before)]
    value = struct.pack(order + {1: "B", 3: "H", 4: "I"}[kind], orientation).ljust(4, b"\0")
    entries.append(struct.pack(f"{order}HHI4s", 0x0112, kind, count, value))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack(f"{order}I", 0)


def segment(marker: int, content: bytes) -> bytes:
    """A JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(pixels: np.ndarray, *contents: bytes) -> bytes:
    """A JPEG file with each of ``contents`` as an EXIF segment behind the start of the image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    segments = b"".join(segment(0xE1, b"Exif\0\0" + content) for content in contents)
    return buffer.getvalue()[:2] + segments + buffer.getvalue()[2:]


def chunk(name: bytes, content: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(pixels: np.ndarray, *extra: bytes, behind: bool = False) -> bytes:
    """A PNG file with the chunks ``extra`` before or ``behind`` the pixels."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))
    parts = [chunk(b"IDAT", zlib.compress(rows)), *extra] if behind else [*extra, chunk(b"IDAT", zlib.compress(rows))]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(parts) + chunk(b"IEND", b"")
