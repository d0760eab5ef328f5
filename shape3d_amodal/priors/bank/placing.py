"""Where each template may lie over an object's window: every size and shift that can be good is tried, on a grid.

The score is the certain-pixel IoU |T and visible| / (|visible| + |T| - |T and possible|), possible being visible or
unknown. A silhouette's box must hold that of the visible mask and lie in that of what is possible, but for a little
slack; so few sizes and shifts remain, and a few words of bits tell each one's score.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d, affine_grid, grid_sample

from shape3d_amodal.crops.pixels import OUTSIDE, VISIBLE, PixelWindow
from shape3d_amodal.priors.bank import bits
from shape3d_amodal.priors.bank.bits import popcount
from shape3d_amodal.priors.bank.contour_fit import PoseBeliefs
from shape3d_amodal.priors.bank.poses import (
    ASPECT,
    CX,
    CY,
    DISTANCE,
    POSE,
    SCALE,
    Poses,
    U,
    V,
    in_turn,
    towards,
    upright,
)
from shape3d_amodal.priors.bank.templates import GRID, SIZES, Templates, Views

# Built on bits b95be78f
_MARGIN = 16
"""Samples around the window's own, where silhouettes of large or cut objects end."""
_SIDE = GRID + 2 * _MARGIN
_SLACKS = (1, 4, 12)
"""Samples by which boxes may miss each other; the larger ones where no template fits with the smaller."""
_SHORT = 6
"""Where a corner may lie in a span of at most this many samples all shifts are tried; else every second one, and those
about the best."""


def place(templates: list[Templates], views: Views, window: PixelWindow, beliefs: PoseBeliefs, count: int) -> Poses:
    """The ``count`` best poses, at most, that templates suggest; the best first. With rolls, half of them are upright.

    Args:
        templates: of M meshes; a pose's ``mesh`` is an index into them.
        views: those that the templates were drawn from.
        window: what is known of the object.
        beliefs: of the camera's distance.
    """
    visible, possible = _query(window, views.rolls)
    areas = np.maximum(visible.sum(axis=(1, 2)), 1).astype(np.float32)
    boxes = np.array([[*_box(v), *_box(p)] for v, p in zip(visible, possible, strict=True)])
    packed = bits.pack(visible)[..., 0], bits.pack(possible)[..., 0]
    placed = np.zeros((len(templates), len(views.rotation), len(views.rolls), 4), np.float32)
    for slack in _SLACKS:
        for one, out in zip(templates, placed, strict=True):
            parts = [np.ascontiguousarray(one.views[name]) for name in ("start", "height", "width", "area")]
            _place(one.bits, *parts, *packed, areas, boxes, slack, out)
        if placed.any():
            break
    score = _peaks(placed[..., 0]).ravel()
    stands = np.broadcast_to(upright(views.turned), placed.shape[:3]).ravel()
    order = in_turn(score, stands | (len(views.rolls) == 1), count)
    order = order[score[order] > 0]
    mesh, view, roll = np.unravel_index(order, placed.shape[:3])
    return _poses(templates, views, window, beliefs, placed[mesh, view, roll], mesh, view, roll)


def _query(window: PixelWindow, rolls: NDArray[np.floating[Any]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Visible and possible samples [R,_SIDE,_SIDE] of the window and about it, turned back by each roll."""
    state = _surroundings(window).state
    masks = torch.from_numpy(np.stack([state == VISIBLE, state != OUTSIDE])).float()[None]
    wide = adaptive_avg_pool2d(masks, _SIDE)
    if len(rolls) > 1:
        cosine, sine = np.cos(rolls), np.sin(rolls)
        zero = np.zeros_like(cosine)
        turn = np.stack([cosine, -sine, zero, sine, cosine, zero], axis=1).reshape(-1, 2, 3)
        grid = affine_grid(torch.from_numpy(turn).float(), [len(rolls), 2, _SIDE, _SIDE], align_corners=False)
        wide = grid_sample(wide.expand(len(rolls), -1, -1, -1), grid, padding_mode="border", align_corners=False)
    visible, possible = wide.numpy().transpose(1, 0, 2, 3) > 0.5
    if not visible.any():  # too thin for the grid: what touches a sample counts
        visible = (wide[:, 0] > 0.5 * wide[:, 0].amax(dim=(1, 2), keepdim=True)).numpy()
    return visible, possible | visible


def _surroundings(window: PixelWindow) -> PixelWindow:
    """The window with its margins."""
    side = window.side * _SIDE // GRID
    margin = (side - window.side) // 2
    return window.moved(window.left - margin, window.top - margin, side)


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """First row, row behind the last, first column and column behind the last of a mask; of an empty one all."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return 0, len(mask), 0, len(mask)
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _peaks(score: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores [M,V,R] of which only those count that are at least as good as with the rolls beside them."""
    if score.shape[2] < 3:
        return score
    beside = np.maximum(np.roll(score, 1, axis=2), np.roll(score, -1, axis=2))
    return np.where(score >= beside, score, 0)


def _poses(
    templates: list[Templates],
    views: Views,
    window: PixelWindow,
    beliefs: PoseBeliefs,
    placed: NDArray[np.float32],
    mesh: NDArray[np.int64],
    view: NDArray[np.int64],
    roll: NDArray[np.int64],
) -> Poses:
    """The poses of K placed templates; ``placed`` [K,4]: score, index of the size, row and column of the corner."""
    size = placed[:, 1].astype(np.int64)
    records = [templates[m].views[v] for m, v in zip(mesh, view, strict=True)]
    extent = np.array([record["extent"] for record in records], np.float64)
    middle = np.array([record["middle"] for record in records], np.float64).reshape(-1, 2)
    box = np.array([(record["width"][s], record["height"][s]) for record, s in zip(records, size, strict=True)])
    sample = window.side / GRID
    scale = SIZES[size] / extent * sample
    corner = placed[:, [3, 2]].astype(np.float64)
    origin = (corner + box.reshape(-1, 2) / 2 - _SIDE / 2) * sample - scale[:, None] * middle
    turn = views.turns[roll]
    around = _surroundings(window)
    centre = np.array([around.left, around.top]) + around.side / 2
    place = np.einsum("kij,kj->ki", turn[:, :2, :2], origin) + centre

    aspect = window.aspect
    distance = np.full(len(mesh), beliefs.distance) if beliefs.focal is None else beliefs.focal / scale
    ray = (place - window.principal) / (scale * distance)[:, None] / (aspect, 1)
    rotation = towards(np.concatenate([ray, np.ones((len(mesh), 1))], axis=1)) @ turn @ views.rotation[view]
    rows = np.zeros((len(mesh), POSE), np.float32)
    rows[:, :9] = rotation.reshape(-1, 9)
    rows[:, SCALE], rows[:, [U, V]], rows[:, DISTANCE] = scale, place, distance
    rows[:, [CX, CY]], rows[:, ASPECT] = window.principal, aspect
    return Poses(mesh, rows, placed[:, 0].astype(np.float64))


@numba.njit(nogil=True, cache=True)
def _place(words, start, height, width, area, visible, possible, areas, boxes, slack, placed):  # type: ignore[no-untyped-def]
    """For each view and roll the best place: score, index of the size, row and column of the corner."""
    for r in range(len(visible)):
        for t in range(len(start)):
            best = placed[t, r]
            for s in range(start.shape[1]):
                rows, columns = height[t, s], width[t, s]
                span = _span(boxes[r], rows, columns, slack)
                if span[0] > span[1] or span[2] > span[3] or area[t, s] <= best[0] * areas[r]:
                    continue  # the score is at most area / visible area
                own = words[start[t, s] : start[t, s] + rows]
                _try(own, area[t, s], visible[r], possible[r], areas[r], span, s, best)
            if best[0] > 0:
                s, row, column = int(best[1]), int(best[2]), int(best[3])
                span = _span(boxes[r], height[t, s], width[t, s], slack)
                near = max(row - 1, span[0]), min(row + 1, span[1]), max(column - 1, span[2]), min(column + 1, span[3])
                own = words[start[t, s] : start[t, s] + height[t, s]]
                _try(own, area[t, s], visible[r], possible[r], areas[r], near, s, best)


@numba.njit(nogil=True, cache=True)
def _span(box, rows, columns, slack):  # type: ignore[no-untyped-def]
    """First and last row, first and last column at which the corner of a silhouette of this size may lie."""
    top, bottom, left, right, first_row, end_row, first_column, end_column = box
    return (
        max(bottom - rows - slack, first_row - slack, 0),
        min(top + slack, end_row + slack - rows, _SIDE - rows),
        max(right - columns - slack, first_column - slack, 0),
        min(left + slack, end_column + slack - columns, _SIDE - columns),
    )


@numba.njit(nogil=True, cache=True)
def _try(own, area, visible, possible, visible_area, span, size, best):  # type: ignore[no-untyped-def]
    """Improve ``best`` over the shifts of ``span``."""
    down, right = 1 if span[1] - span[0] <= _SHORT else 2, 1 if span[3] - span[2] <= _SHORT else 2
    for row in range(span[0], span[1] + 1, down):
        for column in range(span[2], span[3] + 1, right):
            shift = np.uint64(column)
            inside = np.uint64(0)
            for k in range(len(own)):
                inside += popcount((own[k] << shift) & visible[row + k])
            if np.float32(inside) <= best[0] * visible_area:  # the score is at most inside / visible area
                continue
            free = np.uint64(0)
            for k in range(len(own)):
                free += popcount((own[k] << shift) & possible[row + k])
            score = np.float32(inside) / (visible_area + area - np.float32(free))
            if score > best[0]:
                best[0], best[1], best[2], best[3] = score, size, row, column
