"""The only module that opens foreign files: images, JSON and archives, each bounded before it is read.

Whatever is wrong with a file raises a ``DataError`` that names it. Only regular files are opened, because a pipe or a
device in place of a file could block a job. Names that were read from a file are resolved by ``resolve_inside``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin
from PIL.Image import Image, fromarray

from shape3d_amodal.errors import DataError, check_path
from shape3d_amodal.files.exif import Orientation, check_orientation, orientation_of, split_jpeg, upright
from shape3d_amodal.files.json_numbers import BadNumberError, place_of, refuse_constant
from shape3d_amodal.files.json_numbers import finite as finite_number

MAX_IMAGE_BYTES = 256 * 1024**2
MAX_IMAGE_PIXELS = 64_000_000
MAX_JSON_BYTES = 2_000_000_000

_IMAGE_READERS = {b"\x89PNG": PngImagePlugin.PngImageFile, b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile}


@contextmanager
def open_regular(path: str | Path) -> Iterator[BinaryIO]:
    """The regular file ``path``, open for reading.

    Raises:
        DataError: it cannot be opened, or is not a regular file.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("expected a regular file, got a folder, pipe or device; check the path", file=path)
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read the file ({error.strerror}); check the path", file=path) from error
    except ValueError as error:  # a name with a NUL or a lone surrogate
        raise DataError("cannot read the file (no valid file name); check the path", file=repr(str(path))) from error
    with file:
        yield file


def read_bytes(path: str | Path, limit: int) -> bytes:
    """The content of the regular file ``path``.

    Raises:
        DataError: it cannot be read, is no regular file, or has more than ``limit`` bytes.
    """
    with open_regular(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, limit) + 1)  # read() allocates as much as it is asked for
        except OSError as error:
            raise DataError(f"cannot read the file ({error.strerror}); check the disk", file=path) from error
    if len(data) > limit:
        raise DataError(f"expected at most {limit} bytes, got more; use a smaller file", file=path)
    return data


def sha256(path: str | Path) -> str:
    """The SHA-256 of the regular file ``path``, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1024**2):
            digest.update(chunk)
    return digest.hexdigest()


def resolve_inside(
    root: str | Path,
    name: str | Path,
    *,
    links: str | Path | None = None,
    file: str | Path | None = None,
    field: str | None = None,
    remedy: str = "move the file into the folder",
) -> Path:
    """The path ``root / name``, symbolic links resolved, which must lie inside ``root``. It need not exist.

    Args:
        links: a second folder into which symbolic links may lead.
        file, field: where ``name`` was read, for the message.
        remedy: what to do about a link that leads elsewhere, for the message.

    Raises:
        DataError: ``name`` is absolute, has a ``..`` part, or leads out of the two folders by a symbolic link.
    """
    text = str(name)
    problem = None
    if not text or len(text) > 1000 or not text.isprintable():
        problem = f"expected a file name of at most 1000 printable signs, got {text[:80]!r}; rename the file"
    elif Path(text).is_absolute() or "\\" in text or ".." in Path(text).parts or text[1:2] == ":":
        problem = f"expected a relative name with / and without .., got {text[:80]!r}; move the file into the folder"
    if problem is None:
        try:
            base = Path(root).resolve()
            path = (base / text).resolve()
            allowed = [base] if links is None else [base, Path(links).resolve()]
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
            raise DataError(f"cannot resolve {text[:80]!r}; check its links", file=file or root, field=field) from error
        inside = any(map(path.is_relative_to, allowed))
        if inside and str(path).isprintable():
            return path
        target = str(path.parent)[:200]
        problem = f"{text[:80]!r} leads out of the folder by a symbolic link, to {target!r}; {remedy}"
        if inside:
            problem = f"{text[:80]!r} leads to a name with signs that cannot be printed, {target!r}; rename that"
    raise DataError(problem, file=file if file is not None else root, field=field)


def read_json(
    path: str | Path,
    *,
    limit: int = MAX_JSON_BYTES,
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
    finite: bool = True,
) -> Any:
    """The value of the JSON file ``path`` (UTF-8). Of a repeated key the last value counts.

    Args:
        object_hook: gives the replacement of each object, innermost objects first.
        finite: refuse numbers beyond float64. False reads them as infinity, for readers that check every number that
            they use; files of polygons are then read a quarter faster.

    Raises:
        DataError: it cannot be read, has more than ``limit`` bytes, is not JSON, is nested too deeply (about a thousand
            levels), or holds NaN, Infinity or a number beyond float64.
    """
    return parse_json(read_bytes(path, limit), file=path, object_hook=object_hook, finite=finite)


def parse_json(
    data: bytes,
    *,
    file: str | Path | None,
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
    finite: bool = True,
) -> Any:
    """The value of the JSON text ``data``, with the checks of ``read_json``; ``file`` is named in errors."""
    try:
        text = data.decode("utf-8-sig")
        del data  # so that a large file is in memory only once
        number = finite_number if finite else None
        return json.loads(text, object_hook=object_hook, parse_float=number, parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        problem = f"expected UTF-8 text, got another byte at {error.start}; save the file as UTF-8"
    except json.JSONDecodeError as error:
        problem = f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; correct or export it anew"
    except BadNumberError as error:
        problem = f"not valid JSON at {place_of(text, error.number)}: {error}; correct or export it anew"
    except ValueError as error:  # integers of thousands of digits
        problem = f"not valid JSON: {reason(error)}; correct or export it anew"
    except RecursionError:
        problem = "the JSON is nested too deeply; expected plain annotations"
    raise DataError(problem, file=file)


class DecodedImage(NamedTuple):
    """An image file as it was read.

    Attributes:
        pixels: RGB, [H,W,3] uint8.
        exif_orientation: the file's EXIF orientation, 1 to 8; 1 is upright, and where none is told.
        exif_damage: what is wrong with the EXIF data, which then count as none; None where nothing is.
    """

    pixels: np.ndarray
    exif_orientation: int = 1
    exif_damage: str | None = None


def read_image(path: str | Path, *, orientation: Orientation = "exif") -> np.ndarray:
    """The PNG or JPEG image ``path`` as RGB, [H,W,3] uint8.

    Grey and palette images are converted to RGB, of 16-bit grey the high byte is kept, transparency is dropped.

    Args:
        orientation: ``exif`` turns the image upright where its EXIF orientation says that it lies otherwise, as image
            viewers, annotation tools and detectron2 do; ``stored`` leaves the pixels as the file has them.

    Raises:
        DataError: it cannot be read, is neither PNG nor JPEG, is too large, truncated or otherwise damaged.
        UsageError: ``path`` is no path, or ``orientation`` is neither word.
    """
    check_path("path", path)
    check_orientation(orientation)
    return decode_image(read_bytes(path, MAX_IMAGE_BYTES), file=path, orientation=orientation).pixels


def decode_image(data: bytes, *, file: str | Path, orientation: Orientation = "exif") -> DecodedImage:
    """The PNG or JPEG image in ``data``, with the checks of ``read_image``."""
    check_orientation(orientation)
    reader = next((reader for magic, reader in _IMAGE_READERS.items() if data.startswith(magic)), None)
    if reader is None:
        raise DataError("expected a PNG or JPEG image, got something else; convert it", file=file)
    try:
        data, exif = split_jpeg(data) if reader is JpegImagePlugin.JpegImageFile else (data, None)
        image = reader(io.BytesIO(data))  # reads the header alone
        if image.width * image.height > MAX_IMAGE_PIXELS:
            problem = f"expected at most {MAX_IMAGE_PIXELS} pixels, got {image.width} x {image.height}; scale it down"
            raise DataError(problem, file=file)
        image.load()
        rgb = high_byte(image) if image.mode.startswith("I") else image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error) as error:
        raise DataError(f"damaged image ({reason(error)}); replace the file", file=file) from error
    tag, damage = 1, None
    try:
        tag = orientation_of(image, exif)
    except ValueError as error:
        damage = reason(error)
    return DecodedImage(np.array(upright(rgb, tag) if orientation == "exif" else rgb), tag, damage)


def high_byte(image: Image) -> Image:
    """An image of 16-bit grey with its high byte alone, as RGB."""
    return fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")


def reason(error: BaseException) -> str:
    """The text of another library's ``error``, short and on one line."""
    text = "".join(sign if sign.isprintable() else "?" for sign in " ".join(str(error).split()))
    return text[:120] or type(error).__name__
