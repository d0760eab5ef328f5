"""What people give: images and masks in their many forms, made what the stages take, or refused in one line.

Nothing is guessed: a form has one meaning, and what has none is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal import masks
from shape3d_amodal.errors import DataError, UsageError, check_whole, meant
from shape3d_amodal.structures import ANYTHING, Intrinsics, Rle

_FARTHEST_PX = 1e6
"""Largest focal length or place of the principal point, in pixels, that a camera may have."""
_WIDEST = 0.13
"""Least focal length of a camera, as a share of the image's side: it sees 150 degrees."""
GivenImage: TypeAlias = Any
"""An image in any form that ``given_image`` knows."""
GivenMask: TypeAlias = Any
"""A mask in any form that ``given_mask`` knows."""
_IMAGE = "[H,W,3] uint8 (also [H,W], [H,W,4], and floats from 0 to 1), a PIL image or a path"
_MASK = "[H,W] of bool, of 0 and 1, or of 0 and 255, a COCO run-length code, or polygons"


def given_image(value: GivenImage) -> NDArray[np.uint8]:
    """The pixels of an image, [H,W,3] uint8, RGB.

    Args:
        value: an array [H,W,3] uint8, RGB; or [H,W] or [H,W,1], grey; or [H,W,4], whose transparency is dropped; each
            also of floats from 0 (black) to 1. Or a PIL image, or the path of a PNG or JPEG file; these two are turned
            upright as their EXIF orientation says.

    Raises:
        UsageError: anything else, such as floats from 0 to 255.
        DataError: the file cannot be read.
    """
    if isinstance(value, (str, Path)):
        from shape3d_amodal.files.safe_io import read_image

        return read_image(value)
    if _is_pil(value):
        return _of_pil(value)
    pixels = _array(value)
    if pixels is None:
        raise UsageError(f"image: expected {_IMAGE}, got {_named(value)}")
    came = f"got {list(pixels.shape)} {pixels.dtype}"
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise UsageError(f"image: expected {_IMAGE}, {came}")
    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # false for NaN, too
            problem = f"{came} from {pixels.min():g} to {pixels.max():g}; divide by its largest possible value"
            raise UsageError(f"image: expected {_IMAGE}, {problem}")
        pixels = np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise UsageError(f"image: expected {_IMAGE}, {came}")
    pixels = pixels[:, :, :3] if pixels.shape[2] > 1 else np.repeat(pixels, 3, axis=2)
    return np.require(pixels, requirements=["C", "W"])  # torch takes no other memory


def given_masks(
    values: Sequence[GivenMask] | NDArray[Any], height: int, width: int, *, image: GivenImage = None
) -> list[NDArray[np.bool_]]:
    """The visible masks [H,W] bool of the objects of an image, none empty.

    Args:
        values: one for each object, in a list, a tuple or an array [N,H,W]; see ``given_mask``.
        image: as ``given_image`` got it; errors name its EXIF orientation where that is why a mask does not fit.

    Raises:
        UsageError: naming the mask, for example ``visible[2]``.
    """
    if (isinstance(values, np.ndarray) and values.ndim == 2) or isinstance(values, (dict, Rle)) or _is_pil(values):
        raise UsageError("visible: expected one mask for each object, got a single one; put it into a list: [mask]")
    found = []
    for number, value in enumerate(in_order("visible", values)):
        try:
            mask = given_mask(value, height, width, name=f"visible[{number}]")
        except UsageError as error:
            if height == width or _size(value) != (width, height) or not (why := _turned(image)):
                raise
            raise UsageError(f"{error}; {why}") from error
        if not mask.any():
            raise UsageError(f"visible[{number}]: the mask is empty; leave out objects of which nothing is visible")
        found.append(mask)
    return found


def given_mask(value: GivenMask, height: int, width: int, *, name: str) -> NDArray[np.bool_]:
    """One mask, [H,W] bool.

    Args:
        value: an array [H,W] (``binary``) or a PIL image of these values; or COCO's run-length code, as a dict with
            ``size`` and ``counts`` or as a ``structures.Rle``; or COCO's polygons, a list of
            ``[x1, y1, x2, y2, ...]``.
        name: of the mask, for messages.

    Raises:
        UsageError: anything else, or a mask of another size than the image.
    """
    if _is_rows(value, height, width):
        raise UsageError(f"{name}: expected {_MASK}, got lists of pixels; make them an array: numpy.array(mask)")
    if isinstance(value, (dict, list, tuple, Rle)):
        given = value.to_coco() if isinstance(value, Rle) else list(value) if isinstance(value, tuple) else value
        try:
            decoded: NDArray[np.bool_] = masks.decode(
                masks.from_annotation(given, height, width, file=None, field=name)
            )
        except DataError as error:
            raise UsageError(str(error)) from error
        return decoded
    pixels = np.asarray(value) if _is_pil(value) else _array(value)
    if pixels is None:
        raise UsageError(f"{name}: expected {_MASK}, got {_named(value)}")
    if pixels.shape != (height, width):
        problem = f"expected [{height}, {width}] bool like the image, got {list(pixels.shape)} {pixels.dtype}"
        raise UsageError(f"{name}: {problem}")
    return binary(pixels, name=name)


def binary(pixels: NDArray[Any], *, name: str) -> NDArray[np.bool_]:
    """A mask of bool, of 0 and 1, or of whole numbers 0 and 255, as bool; bool in its own memory where torch takes it.

    Raises:
        UsageError: other values, such as probabilities, or the numbers of several objects.
    """
    if pixels.dtype != np.bool_:
        inside = pixels == 1
        if pixels.dtype.kind in "iu":
            inside = inside if inside.any() else pixels == 255
        if pixels.dtype.kind not in "iuf" or not (inside | (pixels == 0)).all():
            came = f"{pixels.dtype}"
            if pixels.dtype.kind in "iuf":
                came += f" from {pixels.min():g} to {pixels.max():g}"
            raise UsageError(f"{name}: expected bool, 0 and 1, or 0 and 255, got {came}; give mask > threshold")
        pixels = inside
    return np.ascontiguousarray(pixels) if any(stride < 0 for stride in pixels.strides) else pixels


def given_names(values: Sequence[str], known: Sequence[str]) -> list[str]:
    """The category names of the objects of an image.

    Raises:
        UsageError: no list, no name, or one that is not among ``known``, where that has no ``ANYTHING``, either.
    """
    names = in_order("categories", values)
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise UsageError(f"categories[{number}]: expected a name, got {name!r}; known are {', '.join(known)}")
        if name not in known and ANYTHING not in known:
            raise UsageError(
                f"categories[{number}]: unknown category {name!r}{meant(name, known)}; known are {', '.join(known)}"
            )
    return names


def given_ranks(values: Sequence[int | None]) -> list[int | None]:
    """The ranks in depth of the objects of an image, 0 nearest; None where unknown.

    Raises:
        UsageError: no list, or a rank that is no whole number.
    """
    ranks = in_order("depth_order", values)
    for number, rank in enumerate(ranks):
        if rank is not None:
            check_whole(f"depth_order[{number}]", rank, "rank (or None where it is unknown)")
    return ranks


def given_pairs(values: Any, count: int) -> set[tuple[int, int]]:
    """Pairs (in front, behind) of places among ``count`` objects.

    Raises:
        UsageError: no pairs, or places that are none.
    """
    pairs = set()
    for pair in values if isinstance(values, (set, frozenset)) else in_order("in_front", values):
        places = list(pair) if isinstance(pair, (tuple, list, np.ndarray)) else [pair]
        for place in places:
            check_whole("in_front", place, "place in visible", most=count - 1)
        if len(places) != 2 or places[0] == places[1]:
            raise UsageError(f"in_front: expected pairs (in front, behind) of two places in visible, got {pair!r}")
        pairs.add((int(places[0]), int(places[1])))
    return pairs


def given_intrinsics(value: Any, height: int, width: int) -> Intrinsics:
    """The camera of an image: fx, fy, cx and cy, in pixels.

    Raises:
        UsageError: anything else, such as a matrix.
    """
    numbers = np.asarray(value, dtype=object)
    kinds = (int, float, np.integer, np.floating)
    if numbers.shape == (4,) and all(isinstance(one, kinds) and not isinstance(one, bool) for one in numbers):
        fx, fy, cx, cy = map(float, numbers)
        if min(fx, fy) > 0 and all(abs(one) <= _FARTHEST_PX for one in (fx, fy, cx, cy)):  # false for NaN
            if min(fx / width, fy / height) < _WIDEST:
                problem = f"a focal length of {min(fx, fy):g} pixels sees more than 150 degrees in this image"
                raise UsageError(f"intrinsics: {problem}; give pixels, not millimetres")
            return fx, fy, cx, cy
    came = f"{list(numbers.shape)} numbers" if numbers.ndim and numbers.shape != (4,) else f"{value!r:.60}"
    remedy = "of OpenCV's matrix K give (K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5)"
    expected = "expected (fx, fy, cx, cy) in pixels, fx and fy positive, none beyond 1,000,000"
    raise UsageError(f"intrinsics: {expected}, got {came}; {remedy}")


def in_order(name: str, values: Any, of: str = "an item for each object") -> list[Any]:
    """The items of a list, a tuple or an array; what has no order, or is a text, is refused.

    Raises:
        UsageError: naming the argument ``name``.
    """
    if isinstance(values, (list, tuple)):
        return list(values)
    array = _array(values)
    if array is None or array.ndim == 0:
        raise UsageError(f"{name}: expected a list with {of}, got {_named(values)}")
    return list(array)


def _array(value: Any) -> NDArray[Any] | None:
    """An array, or what says itself that it is one, such as a tensor; else None."""
    if isinstance(value, np.ndarray):
        return value
    if not hasattr(value, "__array__"):
        return None
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # such as a tensor on another device
        return None


def _is_rows(value: Any, height: int, width: int) -> bool:
    """Whether it is a mask as lists of its pixels, which would pass for polygons in the corner of the image."""
    if not isinstance(value, (list, tuple)) or len(value) != height:
        return False
    rows = [row for row in value if isinstance(row, (list, tuple)) and len(row) == width]
    return len(rows) == height and all(isinstance(pixel, (bool, int)) and pixel in (0, 1, 255) for pixel in rows[0])


def _is_pil(value: Any) -> bool:
    """Whether it is a PIL image: of a class of that library, which need not be imported for the question."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def _of_pil(image: Any) -> NDArray[np.uint8]:
    from PIL import ImageOps

    from shape3d_amodal.files.safe_io import high_byte

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # the high byte, as for files
        return np.array(high_byte(image))
    if image.mode in ("I", "F"):
        raise UsageError(f"image: expected {_IMAGE}, got a PIL image of mode {image.mode}, whose range is not known")
    return np.array(image.convert("RGB"))


def _size(mask: GivenMask) -> tuple[int, int] | None:
    """Height and width of a mask that has its own; None for polygons and what is no mask."""
    if isinstance(mask, Rle) or _is_pil(mask):
        return mask.height, mask.width
    size = mask.get("size") if isinstance(mask, dict) else getattr(mask, "shape", None)
    return (size[0], size[1]) if isinstance(size, (list, tuple)) and len(size) == 2 else None


def _turned(image: GivenImage) -> str | None:
    """That the EXIF orientation of an image exchanged its sides, and how to keep them; None where it did not."""
    from shape3d_amodal.files import safe_io
    from shape3d_amodal.files.exif import SIDEWAYS

    if isinstance(image, (str, Path)):
        data = safe_io.read_bytes(image, safe_io.MAX_IMAGE_BYTES)
        tag = safe_io.decode_image(data, file=image).exif_orientation
        remedy = "shape3d_amodal.files.safe_io.read_image(path, orientation='stored')"
    elif _is_pil(image):
        tag = image.getexif().get(0x0112, 1)
        remedy = "numpy.asarray(image)" if image.mode in ("L", "RGB", "RGBA") else "numpy.asarray(image.convert('RGB'))"
    else:
        return None
    return (
        f"the image's EXIF orientation {tag} is applied; give {remedy} for stored pixels" if tag in SIDEWAYS else None
    )


def _named(value: object) -> str:
    """What came, in a few words."""
    if isinstance(value, (str, bytes, int, float, type(None))):
        return repr(value)[:60]
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
