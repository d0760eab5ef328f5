"""Binary masks as COCO run-length codes: checked before they are decoded, and combined without decoding.

A code lists the lengths of runs of equal pixels in column-major order, the first run being background. COCO's
compressed text writes each run (from the fourth on, its difference from the run two before) in groups of five bits, one
a letter. Codes and polygons come from foreign files, so ``from_annotation`` checks sign, sum and size before any memory
is taken.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import faster_coco_eval.core.mask as coco_mask
import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.safe_io import MAX_IMAGE_PIXELS
from shape3d_amodal.masks import run_lengths
from shape3d_amodal.structures import Rle

POLYGON_REACH = 10
"""Polygon coordinates may lie this many times the image's longer side away from its corner."""
MAX_POLYGON_LENGTH = 1_000_000
"""Longest outline in pixels; the rasteriser walks it in steps of a fifth of a pixel."""

Numbers = list[Any] | np.ndarray

_FAULTS = {
    1: "its text ends in the middle of a number",
    2: "its text has a letter outside '0' to 'o'",
    3: "a run is longer than any image",
    4: "a run is negative",
    5: "its runs cover more pixels than the image has",
    6: "its runs cover fewer pixels than the image has",
}


def encode(mask: np.ndarray) -> Rle:
    """The code of ``mask`` [H,W], bool or uint8 (anything but 0 is inside).

    Raises:
        ValueError: another shape or dtype.
    """
    if mask.ndim != 2 or mask.dtype not in (np.bool_, np.uint8) or mask.size == 0:
        raise ValueError(f"expected a mask [H,W] of bool or uint8, got shape {mask.shape} and dtype {mask.dtype}")
    inside = np.asfortranarray(mask != 0).view(np.uint8)
    return _rle(coco_mask.encode(inside))


def empty(height: int, width: int) -> Rle:
    """The mask without any pixel inside."""
    return _from_runs([height * width], height, width)


def decode(rle: Rle) -> np.ndarray:
    """The mask [H,W] as bool, column-major in memory."""
    return coco_mask.decode(rle.to_coco()).view(np.bool_)


def runs(rle: Rle) -> np.ndarray:
    """The lengths of the runs of equal pixels, int64 [R], column by column; the first run is background."""
    lengths: np.ndarray = run_lengths.runs(_letters(rle.counts), rle.height * rle.width)[0]
    return lengths


def area(rle: Rle) -> int:
    """Number of pixels inside."""
    return int(run_lengths.area(_letters(rle.counts), rle.height * rle.width))


def bbox(rle: Rle) -> tuple[float, float, float, float]:
    """Tight box (x, y, width, height) in pixels around the pixels inside; zeros for an empty mask."""
    x, y, width, height = run_lengths.box(_letters(rle.counts), rle.height * rle.width, rle.height)
    return float(x), float(y), float(width), float(height)


def union(rles: Sequence[Rle]) -> Rle:
    """Pixels inside any of ``rles``.

    Raises:
        ValueError: no masks, or masks of different sizes.
    """
    if len({(rle.height, rle.width) for rle in rles}) != 1:
        raise ValueError(f"expected one or more masks of one size, got {[(rle.height, rle.width) for rle in rles]}")
    return rles[0] if len(rles) == 1 else _rle(coco_mask.merge([rle.to_coco() for rle in rles]))


def subtract(first: Rle, second: Rle) -> Rle:
    """Pixels inside ``first`` and not inside ``second``, computed on the runs.

    Raises:
        ValueError: masks of different sizes.
    """
    if (first.height, first.width) != (second.height, second.width):
        raise ValueError(
            f"expected masks of one size, got {first.height} x {first.width} and {second.height} x {second.width}"
        )
    runs = run_lengths.subtract(_letters(first.counts), _letters(second.counts), first.height * first.width)
    return _from_runs(runs.tolist(), first.height, first.width)


def overlap(first: Rle, second: Rle) -> int:
    """Number of pixels inside both of two masks of one size."""
    return int(run_lengths.shared(_letters(first.counts), _letters(second.counts), first.height * first.width))


def crop(rle: Rle) -> tuple[np.ndarray, int, int]:
    """What lies in the mask's tight box: the mask [h,w] bool, and the column and the row of its corner.

    An empty mask gives [0,0].
    """
    left, top, width, height = map(int, bbox(rle))
    mask = np.zeros((height, width), dtype=bool)
    if mask.size:
        run_lengths.fill(_letters(rle.counts), rle.height * rle.width, rle.height, top, left, mask)
    return mask, left, top


def occlude_rate(visible: Rle, amodal: Rle) -> float:
    """Hidden area / amodal area, in 0..1, of two masks of one size; ``amodal`` must not be empty."""
    return float(
        run_lengths.hidden_share(_letters(amodal.counts), _letters(visible.counts), amodal.height * amodal.width)
    )


def check_size(height: Any, width: Any, *, file: str | Path | None, field: str | None) -> None:
    """Refuse an image size that is no pair of positive integers or exceeds ``MAX_IMAGE_PIXELS``.

    Raises:
        DataError: naming ``file`` and ``field``.
    """
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        problem = "expected height and width as positive integers; correct them"
    elif height * width > MAX_IMAGE_PIXELS:
        problem = (
            f"expected at most {MAX_IMAGE_PIXELS} pixels, got {_short(height)} x {_short(width)}; use smaller images"
        )
    else:
        return
    raise DataError(problem, file=file, field=field)


def from_annotation(value: Any, height: int, width: int, *, file: str | Path | None, field: str | None) -> Rle:
    """The mask that an annotation gives for an image of ``height`` x ``width`` pixels.

    Args:
        value: a dict with ``size`` and ``counts`` (compressed text or bytes, or a list of runs), a list of polygons
            ``[x1, y1, x2, y2, ...]`` in pixels (their union), or one flat polygon. Coordinates may leave the image by
            ``POLYGON_REACH`` times its longer side; what lies outside is cut off. Runs and coordinates may also be
            arrays.

    Raises:
        DataError: naming ``file`` and ``field``.
    """
    if isinstance(value, dict):
        size = value.get("size")
        if size != [height, width] and size != (height, width):
            came = "{} x {}".format(*map(_short, size)) if _is_pair(size) else "no pair of integers"
            raise DataError(
                f"expected a mask size of {height} x {width} (height x width) like the image's, got {came}; "
                "export the masks at the image's size",
                file=file,
                field=_join(field, "size"),
            )
        return from_rle(value, file=file, field=field)
    check_size(height, width, file=file, field=field)
    if isinstance(value, (list, np.ndarray)):
        return _from_polygons(value, height, width, file=file, field=field)
    raise DataError(
        f"expected a run-length code (object) or polygons (list), got {type(value).__name__}", file=file, field=field
    )


def from_rle(value: Any, *, file: str | Path | None, field: str | None) -> Rle:
    """The mask of a run-length code of either kind, at the size that it states itself.

    Raises:
        DataError: naming ``file`` and ``field``.
    """
    if not isinstance(value, dict) or "counts" not in value or not _is_pair(value.get("size")):
        raise DataError("expected an object with size [height, width] and counts", file=file, field=field)
    height, width = value["size"]
    check_size(height, width, file=file, field=_join(field, "size"))
    counts = value["counts"]
    if isinstance(counts, (list, np.ndarray)):
        return _from_run_list(counts, height, width, file=file, field=_join(field, "counts"))
    if not isinstance(counts, (str, bytes)):
        raise DataError(
            f"expected text or a list of integers, got {type(counts).__name__}", file=file, field=_join(field, "counts")
        )
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if not counts.isascii():
        raise _bad_code(2, file, field)
    runs, fault, plain = run_lengths.runs(_letters(counts), height * width)
    if fault:
        raise _bad_code(fault, file, field)
    if not plain:  # empty runs inside confuse the box; write the same mask without them
        return _from_runs(run_lengths.subtract_runs(runs, np.array([height * width])).tolist(), height, width)
    return Rle(height, width, counts)


def _from_run_list(counts: Numbers, height: int, width: int, *, file: str | Path | None, field: str | None) -> Rle:
    plain = counts if isinstance(counts, list) else counts.tolist()
    if not all(type(count) is int and count >= 0 for count in plain):
        raise DataError("expected runs as integers of at least 0; export the mask anew", file=file, field=field)
    if sum(plain) != height * width:
        raise DataError(
            f"expected runs that add up to {height} x {width} pixels, got {_short(sum(plain))}; export the mask anew",
            file=file,
            field=field,
        )
    runs = run_lengths.subtract_runs(np.array(plain, dtype=np.int64), np.array([height * width]))
    return _from_runs(runs.tolist(), height, width)


def _from_polygons(value: Numbers, height: int, width: int, *, file: str | Path | None, field: str | None) -> Rle:
    if len(value) == 0:
        raise DataError("expected at least one polygon, got an empty list", file=file, field=field)
    several = isinstance(value[0], (list, np.ndarray))
    polygons: list[list[float]] = []
    short: DataError | None = None
    total = 0.0
    for index, polygon in enumerate(value if several else [value]):
        place = f"{field}[{index}]" if several else field
        points = _points(polygon, file=file, field=place)
        if len(points) >= 6:
            total += _length(points, POLYGON_REACH * max(height, width), file=file, field=place)
            polygons.append(points.tolist())
        elif short is None:
            problem = f"expected at least 6 coordinates, got {len(points)}; drop or repair the polygon"
            short = DataError(problem, file=file, field=place)
    if short is not None and not polygons:  # beside good polygons, the slips of an annotator's mouse are left out
        raise short
    if total > MAX_POLYGON_LENGTH:
        problem = f"expected an outline of at most {MAX_POLYGON_LENGTH} pixels; simplify the polygon"
        raise DataError(problem, file=file, field=field)
    codes = coco_mask.frPyObjects(polygons, height, width)
    return _rle(codes[0] if len(codes) == 1 else coco_mask.merge(codes))


def _points(polygon: Any, *, file: str | Path | None, field: str | None) -> np.ndarray:
    """An even count of coordinates as float64."""
    try:
        known = isinstance(polygon, np.ndarray)
        points = polygon.astype(np.float64) if known else np.frombuffer(array("d", polygon))
    except (TypeError, OverflowError):
        problem = "expected a flat list of numbers x1, y1, x2, y2, ..."
        raise DataError(problem, file=file, field=field) from None
    if len(points) % 2:
        problem = f"expected an even count of coordinates, got {len(points)}; drop or repair the polygon"
        raise DataError(problem, file=file, field=field)
    return points


def _length(points: np.ndarray, reach: int, *, file: str | Path | None, field: str | None) -> float:
    """Steps of one pixel along the closed outline, none of whose coordinates may lie beyond ``reach``."""
    farthest, length = run_lengths.measure(points)
    if not farthest <= reach:  # also true for NaN
        problem = f"expected finite coordinates from {-reach} to {reach} pixels; correct the polygon"
        raise DataError(problem, file=file, field=field)
    return float(length)


def _bad_code(fault: int, file: str | Path | None, field: str | None) -> DataError:
    problem = f"not a valid run-length code: {_FAULTS[fault]}; export the mask anew"
    return DataError(problem, file=file, field=_join(field, "counts"))


def _join(field: str | None, key: str) -> str:
    return f"{field}.{key}" if field else key


def _is_pair(size: Any) -> TypeGuard[list[int]]:
    return isinstance(size, (list, tuple)) and len(size) == 2 and type(size[0]) is type(size[1]) is int


def _short(number: int) -> str:
    """``number`` for a message, also when it has thousands of digits (which Python refuses to print)."""
    return str(number) if abs(number) < 10**18 else "a huge number"


def _rle(code: dict[str, Any]) -> Rle:
    height, width = code["size"]
    return Rle(int(height), int(width), code["counts"].decode("ascii"))


def _from_runs(runs: list[int], height: int, width: int) -> Rle:
    return _rle(coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width))


def _letters(counts: str) -> np.ndarray:
    return np.frombuffer(counts.encode("ascii"), dtype=np.uint8)
