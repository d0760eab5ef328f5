"""Binary masks as COCO run-length codes: checked before they are decoded, and combined without decoding.

A code lists the lengths of runs of equal pixels in column-major order; the first run is background. COCO's compressed
text writes each run (from the fourth on, its difference from the run two before) in groups of five bits, one letter a
group. Codes and polygons come from foreign files, so ``from_annotation`` checks sign, sum and size before it allocates
memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import faster_coco_eval.core.mask as coco_mask
import numpy as np

from shape3d_amodal.errors import DataError
from shape3d_amodal.files.safe_io import MAX_IMAGE_PIXELS
from shape3d_amodal.masks import run_lengths
from shape3d_amodal.structures import Rle

POLYGON_REACH = 10
"""Largest absolute polygon coordinate, in multiples of the image's longer side."""
MAX_POLYGON_LENGTH = 1_000_000
"""Longest outline in pixels. The time of the rasteriser grows with the length: it walks in steps of 0.2 pixels."""

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
    return _rle(coco_mask.encode(np.asfortranarray(mask != 0).view(np.uint8)))


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
    _check_one_size(*rles)
    return rles[0] if len(rles) == 1 else _rle(coco_mask.merge([rle.to_coco() for rle in rles]))


def subtract(first: Rle, second: Rle) -> Rle:
    """Pixels inside ``first`` and not inside ``second``, computed on the runs.

    Raises:
        ValueError: masks of different sizes.
    """
    _check_one_size(first, second)
    runs = run_lengths.subtract(_letters(first.counts), _letters(second.counts), first.height * first.width)
    return _from_runs(runs.tolist(), first.height, first.width)


def overlap(first: Rle, second: Rle) -> int:
    """Number of pixels inside both of two masks of one size."""
    return int(run_lengths.shared(_letters(first.counts), _letters(second.counts), first.height * first.width))


def crop(rle: Rle) -> tuple[np.ndarray, int, int]:
    """The part of the mask in its tight box, [h,w] bool, and the column and row of the box's upper left corner.

    An empty mask gives [0,0].
    """
    left, top, width, height = map(int, bbox(rle))
    mask = np.zeros((height, width), dtype=bool)
    if mask.size:
        run_lengths.fill(_letters(rle.counts), rle.height * rle.width, rle.height, top, left, mask)
    return mask, left, top


def occlude_rate(visible: Rle, amodal: Rle) -> float:
    """Hidden area / amodal area, in 0..1, of two masks of one size; ``amodal`` must not be empty."""
    pixels = amodal.height * amodal.width
    return float(run_lengths.hidden_share(_letters(amodal.counts), _letters(visible.counts), pixels))


class _Place(NamedTuple):
    """The file and field of a mask, for errors."""

    file: str | Path | None
    field: str | None

    def error(self, problem: str) -> DataError:
        return DataError(problem, file=self.file, field=self.field)

    def below(self, key: str) -> _Place:
        return _Place(self.file, f"{self.field}.{key}" if self.field else key)


def check_size(height: Any, width: Any, *, file: str | Path | None, field: str | None) -> None:
    """Refuse an image size that is no pair of positive integers or exceeds ``MAX_IMAGE_PIXELS``.

    Raises:
        DataError: naming ``file`` and ``field``.
    """
    where = _Place(file, field)
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        came = " and ".join(_told(side) for side in (height, width))
        raise where.error(f"expected height and width as positive integers, got {came}; correct them")
    if height * width > MAX_IMAGE_PIXELS:
        got = f"{_short(height)} x {_short(width)}"
        raise where.error(f"expected at most {MAX_IMAGE_PIXELS} pixels, got {got}; use smaller images")


def from_annotation(value: Any, height: int, width: int, *, file: str | Path | None, field: str | None) -> Rle:
    """The mask that an annotation gives for an image of ``height`` x ``width`` pixels.

    Args:
        value: a dict with ``size`` and ``counts`` (compressed text or bytes, or a list of runs), a list of polygons
            ``[x1, y1, x2, y2, ...]`` in pixels (their union), or one flat polygon. Coordinates may leave the image by
            ``POLYGON_REACH`` times its longer side; polygons are cut off at its border. Runs and coordinates may also
            be arrays.

    Raises:
        DataError: naming ``file`` and ``field``.
    """
    where = _Place(file, field)
    if isinstance(value, dict):
        size = value.get("size")
        if size != [height, width] and size != (height, width):
            came = "{} x {}".format(*map(_short, size)) if _is_pair(size) else "no pair of integers"
            problem = f"expected a mask size of {height} x {width} (height x width) like the image's, got {came}"
            raise where.below("size").error(f"{problem}; export the masks at the image's size")
        return from_rle(value, file=file, field=field)
    check_size(height, width, file=file, field=field)
    if isinstance(value, (list, np.ndarray)):
        return _from_polygons(value, height, width, where)
    raise where.error(f"expected a run-length code (object) or polygons (list), got {type(value).__name__}")


def from_rle(value: Any, *, file: str | Path | None, field: str | None) -> Rle:
    """The mask of a run-length code of either kind, at the size that it states itself.

    Raises:
        DataError: naming ``file`` and ``field``.
    """
    where = _Place(file, field)
    if not isinstance(value, dict) or "counts" not in value or not _is_pair(value.get("size")):
        raise where.error("expected an object with size [height, width] and counts")
    height, width = value["size"]
    check_size(height, width, file=file, field=where.below("size").field)
    counts, where = value["counts"], where.below("counts")
    if isinstance(counts, (list, np.ndarray)):
        return _from_run_list(counts, height, width, where)
    if not isinstance(counts, (str, bytes)):
        raise where.error(f"expected text or a list of integers, got {type(counts).__name__}")
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    fault = 2
    if counts.isascii():
        runs, fault, plain = run_lengths.runs(_letters(counts), height * width)
    if fault:
        raise where.error(f"not a valid run-length code: {_FAULTS[fault]}; export the mask anew")
    return Rle(height, width, counts) if plain else _without_empty_runs(runs, height, width)


def _from_run_list(counts: Numbers, height: int, width: int, where: _Place) -> Rle:
    plain = counts if isinstance(counts, list) else counts.tolist()
    if not all(type(count) is int and count >= 0 for count in plain):
        raise where.error("expected runs as integers of at least 0; export the mask anew")
    if sum(plain) != height * width:
        problem = f"expected runs that add up to {height} x {width} pixels, got {_short(sum(plain))}"
        raise where.error(f"{problem}; export the mask anew")
    return _without_empty_runs(np.array(plain, dtype=np.int64), height, width)


def _without_empty_runs(runs: np.ndarray, height: int, width: int) -> Rle:
    """The same mask without empty runs, which confuse the library's bounding boxes."""
    return _from_runs(run_lengths.subtract_runs(runs, np.array([height * width])).tolist(), height, width)


def _from_polygons(value: Numbers, height: int, width: int, where: _Place) -> Rle:
    if len(value) == 0:
        raise where.error("expected at least one polygon, got an empty list")
    several = isinstance(value[0], (list, np.ndarray))
    polygons: list[list[float]] = []
    too_short: DataError | None = None
    total = 0.0
    for index, polygon in enumerate(value if several else [value]):
        place = _Place(where.file, f"{where.field}[{index}]") if several else where
        points = _points(polygon, place)
        if len(points) >= 6:
            total += _length(points, POLYGON_REACH * max(height, width), place)
            polygons.append(points.tolist())
        elif too_short is None:
            too_short = place.error(f"expected at least 6 coordinates, got {len(points)}; drop or repair the polygon")
    if too_short is not None and not polygons:  # beside good polygons they are an annotator's slips and are left out
        raise too_short
    if total > MAX_POLYGON_LENGTH:
        raise where.error(f"expected an outline of at most {MAX_POLYGON_LENGTH} pixels; simplify the polygon")
    codes = coco_mask.frPyObjects(polygons, height, width)
    return _rle(codes[0] if len(codes) == 1 else coco_mask.merge(codes))


def _points(polygon: Any, where: _Place) -> np.ndarray:
    """An even count of coordinates as float64."""
    try:
        known = isinstance(polygon, np.ndarray)
        points = polygon.astype(np.float64) if known else np.frombuffer(array("d", polygon))
    except (TypeError, OverflowError):
        raise where.error("expected a flat list of numbers x1, y1, x2, y2, ...") from None
    if len(points) % 2:
        raise where.error(f"expected an even count of coordinates, got {len(points)}; drop or repair the polygon")
    return points


def _length(points: np.ndarray, reach: int, where: _Place) -> float:
    """Length of the closed outline in steps from pixel to pixel; coordinates beyond ``reach`` are refused."""
    farthest, length = run_lengths.measure(points)
    if not farthest <= reach:  # also true for NaN
        raise where.error(f"expected finite coordinates from {-reach} to {reach} pixels; correct the polygon")
    return float(length)


def _check_one_size(*rles: Rle) -> None:
    sizes = [(rle.height, rle.width) for rle in rles]
    if len(set(sizes)) != 1:
        raise ValueError(f"expected one or more masks of one size, got {sizes}")


def _is_pair(size: Any) -> TypeGuard[list[int]]:
    return isinstance(size, (list, tuple)) and len(size) == 2 and type(size[0]) is type(size[1]) is int


def _told(side: Any) -> str:
    return _short(side) if type(side) is int else type(side).__name__


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
