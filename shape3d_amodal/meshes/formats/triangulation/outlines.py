"""Outlines that touch or cross themselves: the region within them by the even-odd rule, in triangles.

The plane is cut into horizontal strips at each corner and each crossing. Within a strip no edges cross, so that the
region consists of trapezoids between the first and second edge, the third and fourth, and so on. Rounding errors move
the sides by no more than themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shape3d_amodal.errors import DataError

MAX_CROSSINGS = 50_000
"""Contacts of the edges of one outline with each other."""
MAX_PIECES = 1_000_000
"""Pieces into which the strips may cut the edges of one outline."""

_CHUNK = 500_000
"""Pairs of edges that are looked at together."""
_TOUCH = 1e-13
"""Distances below this part of the outline's extent count as zero."""
_THIN = 1e-9
"""Parts that are thinner do not count as enclosed twice."""


@dataclass(frozen=True)
class Region:
    """What an outline of n corners encloses by the even-odd rule.

    Attributes:
        triangles: [T,3] int64, counterclockwise: the corners 0..n-1 and behind them the new points.
        edge: [K] int64, the edge on which each new point lies; edge k goes from corner k to the next one.
        share: [K] float64 in 0..1, how far along its edge.
        simple: whether the outline goes round all that it encloses once and in one direction: it may touch itself.
        pieces: the pieces into which the edges were cut, a measure of the time.
    """

    triangles: np.ndarray
    edge: np.ndarray
    share: np.ndarray
    simple: bool
    pieces: int


def contacts(flat: np.ndarray) -> np.ndarray:
    """The pairs [K,2] of edges of the outline [n,2], about 1 across, that touch or cross without being neighbours.

    Raises:
        DataError: there are more than ``MAX_CROSSINGS``.
    """
    after = np.roll(flat, -1, axis=0)
    found: list[np.ndarray] = []
    total = 0
    for one, other in _near(flat, after):
        gap = np.abs(one - other)
        apart = (gap > 1) & (gap < len(flat) - 1)
        one, other = one[apart], other[apart]
        meet = ~(_one_side(flat, after, one, other) | _one_side(flat, after, other, one))
        found.append(np.stack([one[meet], other[meet]], axis=1))
        total += len(found[-1])
        if total > MAX_CROSSINGS:
            raise _too_many(len(flat))
    return np.concatenate(found)


def even_odd(flat: np.ndarray, touching: np.ndarray) -> Region:
    """The region within the outline [n,2], about 1 across, whose ``contacts`` are the pairs ``touching`` [K,2].

    Raises:
        DataError: the edges would be cut into more than ``MAX_PIECES``.
    """
    after = np.roll(flat, -1, axis=0)
    levels, begins = _levels(flat, _crossing_heights(flat, after, touching))
    ends = np.roll(begins, -1)
    low, spans = np.minimum(begins, ends), np.abs(ends - begins)
    pieces = int(spans.sum())
    if pieces > MAX_PIECES:
        raise _too_many(len(flat))
    edge = np.repeat(np.arange(len(flat)), spans)
    strip = np.arange(pieces) - np.repeat(np.cumsum(spans) - spans - low, spans)

    def share_at(edges: np.ndarray, height: np.ndarray) -> np.ndarray:
        share: np.ndarray = np.clip((height - flat[edges, 1]) / (after - flat)[edges, 1], 0.0, 1.0)
        return share

    def across(edges: np.ndarray, height: np.ndarray) -> np.ndarray:
        place: np.ndarray = flat[edges, 0] + share_at(edges, height) * (after - flat)[edges, 0]
        return place

    middle = across(edge, (levels[strip] + levels[strip + 1]) / 2)
    order = np.lexsort((middle, strip))
    edge, strip, middle = edge[order], strip[order], middle[order]
    simple = _winds_once(np.sign(ends - begins)[edge], strip, middle)
    left, right, bottom, top = _joined(edge[0::2], edge[1::2], strip[0::2])

    sides = np.stack([left, right, right, left], axis=1)
    at = np.stack([bottom, bottom, top, top], axis=1)
    next_corner = (sides + 1) % len(flat)
    keys = np.where(at == begins[sides], sides, np.where(at == ends[sides], next_corner, -1))
    new = keys < 0
    codes, numbers = np.unique((sides * len(levels) + at)[new], return_inverse=True)
    keys[new] = len(flat) + numbers
    new_edge = codes // len(levels)

    width = [across(right, levels[height]) - across(left, levels[height]) > _TOUCH for height in (bottom, top)]
    triangles = np.stack([keys[:, [0, 1, 2]], keys[:, [0, 2, 3]]], axis=1)[np.stack(width, axis=1)]
    return Region(triangles, new_edge, share_at(new_edge, levels[codes % len(levels)]), simple, pieces)


def _near(flat: np.ndarray, after: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of edges that may meet, in chunks: seen along x, along y, and across the direction of most edges.

    They are sorted along that of the three in which the fewest overlap, such as across the teeth of a comb.
    """
    along = after - flat
    seen = np.stack([*np.eye(2), np.linalg.eigh(along.T @ along)[1][:, 0]], axis=1)
    begin, end = flat @ seen, after @ seen
    low, high = np.minimum(begin, end) - _TOUCH, np.maximum(begin, end) + _TOUCH
    order, counts = min((_overlapping(low[:, k], high[:, k]) for k in range(3)), key=lambda one: one[1].sum())
    ends = np.cumsum(counts)
    bounds = np.searchsorted(ends, np.arange(_CHUNK, int(ends[-1]) + _CHUNK, _CHUNK), side="left") + 1
    for rows in np.split(np.arange(len(flat)), np.unique(bounds[bounds < len(flat)])):
        repeats = counts[rows]
        first = np.repeat(rows, repeats)
        step = np.arange(len(first)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        one, other = order[first], order[first + 1 + step]
        for k in range(3):
            overlap = (low[one, k] <= high[other, k]) & (low[other, k] <= high[one, k])
            one, other = one[overlap], other[overlap]
        yield one, other


def _overlapping(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order [n] of intervals by their low ends, and how many behind each [n] begin before it ends."""
    order = np.argsort(low, kind="stable")
    return order, np.searchsorted(low[order], high[order], side="right") - np.arange(len(low)) - 1


def _one_side(flat: np.ndarray, after: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether edge ``other`` lies on one side of the line through edge ``one`` [K] bool."""
    along = after[one] - flat[one]
    far = _TOUCH * np.abs(along).sum(axis=1)
    begin, end = _cross(along, flat[other] - flat[one]), _cross(along, after[other] - flat[one])
    apart: np.ndarray = ((begin > far) & (end > far)) | ((begin < -far) & (end < -far))
    return apart


def _crossing_heights(flat: np.ndarray, after: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """Where pairs of edges cross, without those that are parallel: they meet at corners."""
    one, other = touching.T
    along, along_other = after[one] - flat[one], after[other] - flat[other]
    slope = _cross(along, along_other)
    cut = slope != 0
    share = np.clip(_cross(flat[other] - flat[one], along_other)[cut] / slope[cut], 0.0, 1.0)
    heights: np.ndarray = flat[one[cut], 1] + share * along[cut, 1]
    return heights


def _levels(flat: np.ndarray, crossings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The heights [L] of corners and crossings, almost equal ones once, and the number of each corner's height [n]."""
    heights = np.concatenate([flat[:, 1], crossings])
    order = np.argsort(heights, kind="stable")
    other = np.diff(heights[order], prepend=-np.inf) > _TOUCH
    number = np.empty(len(heights), np.int64)
    number[order] = np.cumsum(other) - 1
    return heights[order][other], number[: len(flat)]


def _winds_once(direction: np.ndarray, strip: np.ndarray, middle: np.ndarray) -> bool:
    """Whether all that has a width lies outside, or once within, the edges; edges are in the order of the strips."""
    winding = np.cumsum(direction)[:-1]
    wide = (np.diff(strip) == 0) & (np.diff(middle) > _THIN)
    around = np.unique(winding[wide])
    return len(around) == 0 or set(around.tolist()) <= {0, 1} or set(around.tolist()) <= {0, -1}


def _joined(
    left: np.ndarray, right: np.ndarray, strip: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The trapezoids between edges ``left`` and ``right``, joined over neighbouring strips.

    Returns:
        left, right, and the levels of the bottom and top of each.
    """
    order = np.lexsort((strip, right, left))
    left, right, strip = left[order], right[order], strip[order]
    first = np.ones(len(left), bool)
    first[1:] = (np.diff(left) != 0) | (np.diff(right) != 0) | (np.diff(strip) != 1)
    last = np.roll(first, -1)
    return left[first], right[first], strip[first], strip[last] + 1


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    product: np.ndarray = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    return product


def _too_many(corners: int) -> DataError:
    problem = f"expected polygons that cross themselves seldom, got one of {corners} corners and too many crossings"
    return DataError(f"{problem}; export the mesh as triangles", field="faces")
