"""Supervision from visible masks alone: a visible part is hidden once more, and the network learns to restore it.

After PCNet-M (Zhan et al., Self-Supervised Scene De-occlusion, CVPR 2020): the mask of another instance, with its
colours, is put over a crop's visible mask (the eraser). The mask under it is known, except where it was hidden before.
A third instance may be put behind the crop's: it could hide something, but hides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from shape3d_amodal.geometry.windows import instance_window
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops, TensorBatch

_CUT = (0.05, 0.7)
"""Least and largest share of the visible mask that an eraser should cover."""
_ANY = 0.15
"""Share of the crops whose eraser may cover any share: an object does not go on under all that touches it."""
_BEHIND = 0.6
"""Share of the crops behind whose instance another one is put."""
_TRIES = 6
"""Erasers that are tried, one after another, for a crop."""
_GROUP = 8
"""Crops side by side that cover each other."""
_LEAST = 0.01
"""Least share of a crop that has to stay visible."""


@dataclass(frozen=True, eq=False, repr=False)
class Covers(TensorBatch):
    """What is drawn to cover N crops: T+1 other ones, the first to be put behind, the rest to be tried as erasers.

    Attributes:
        others: [N,T+1] int64, rows of the other crops.
        zoom: [N,T+1], by which they are enlarged.
        pixel: [N,T+1] in 0..1, which visible pixel of the crop each is put over, row by row from the first to the last.
        shift: [N,T+1,2], how far beside it, in crop NDC with x right and y down.
        free: [N] bool, whether the eraser may cover any share.
        behind: [N] bool, whether something is put behind.
    """

    others: NDArray[np.int64]
    zoom: NDArray[np.float64]
    pixel: NDArray[np.float64]
    shift: NDArray[np.float64]
    free: NDArray[np.bool_]
    behind: NDArray[np.bool_]

    @classmethod
    def draw(cls, generator: np.random.Generator, rows: NDArray[np.int64]) -> Covers:
        """For crops that are the ``rows`` [N] of a source; the others are of these rows, too.

        They are among the ``_GROUP`` rows that a row stands with, so that whoever makes a part of the crops has to read
        few others.
        """
        count, shape = len(rows), (len(rows), _TRIES + 1)
        group = min(_GROUP, count)
        first = np.minimum(np.arange(count) // _GROUP * _GROUP, count - group)[:, None]
        own = np.arange(count)[:, None] - first
        place = first + (own + generator.integers(1, max(group, 2), shape)) % max(group, 1)
        return cls(
            others=rows[place],
            zoom=np.exp(generator.uniform(-0.5, 0.5, shape)),
            pixel=generator.random(shape),
            shift=generator.normal(0, 0.25, (*shape, 2)),
            free=generator.random(count) < _ANY,
            behind=generator.random(count) < _BEHIND,
        )


def reocclude(crops: InstanceCrops, others: InstanceCrops, covers: Covers) -> SupervisedCrops:
    """Cover N crops, of which only the visible masks are known, once more, and cut them out again as at test time.

    Args:
        others: the crops that ``covers.others`` counts.
        covers: what is put where.

    Returns:
        N crops with less that is visible; ``amodal`` is what was visible, ``known`` is where nothing else was hidden.
    """
    if len(crops) == 0:
        return SupervisedCrops(crops, crops.visible, crops.visible)
    drawn = torch.cat([others.visible[:, None], others.rgb], dim=1)
    behind, its_colours = _behind(crops, drawn, covers)
    eraser, colours = _erasers(crops, drawn, covers)
    rgb = crops.rgb + behind[:, None] * (its_colours - crops.rgb)
    rgb = rgb + eraser[:, None] * (colours - rgb)
    visible = crops.visible * (1 - eraser)
    occluder = crops.occluder.maximum(behind).maximum(eraser)
    covered = replace(crops, rgb=rgb, visible=visible, occluder=occluder.minimum(1 - visible))
    return _cut_anew(SupervisedCrops(covered, crops.visible, 1 - crops.occluder))


def _erasers(crops: InstanceCrops, drawn: Tensor, covers: Covers) -> tuple[Tensor, Tensor]:
    """For each crop the mask [N,S,S] and the colours [N,3,S,S] of another one of ``drawn``, put somewhere over it."""
    count = len(crops)
    free = torch.from_numpy(covers.free)
    result = torch.zeros(count, *drawn.shape[1:])
    waiting = torch.ones(count, dtype=torch.bool)
    for attempt in range(1, covers.zoom.shape[1]):
        rows = torch.nonzero(waiting)[:, 0]
        if not len(rows):
            break
        placed = _another_placed(crops, drawn, rows, covers, attempt)
        area = crops.visible[rows].sum(dim=(1, 2))
        left = (crops.visible[rows] * (1 - placed[:, 0])).sum(dim=(1, 2))
        share = 1 - left / area.clamp(min=1e-6)
        good = (free[rows] | ((share > _CUT[0]) & (share < _CUT[1]))) & (left > _LEAST * crops.size**2)
        result[rows[good]] = placed[good]
        waiting[rows[good]] = False
    return result[:, 0], result[:, 1:]


def _behind(crops: InstanceCrops, drawn: Tensor, covers: Covers) -> tuple[Tensor, Tensor]:
    """For some crops the mask [N,S,S] of another one where known background was, and its colours [N,3,S,S]."""
    placed = _another_placed(crops, drawn, torch.arange(len(crops)), covers, 0)
    some = torch.from_numpy(covers.behind.astype(np.float32))
    background = (1 - crops.visible - crops.occluder).clamp(min=0)
    return some[:, None, None] * placed[:, 0] * background, placed[:, 1:]


def _another_placed(crops: InstanceCrops, drawn: Tensor, rows: Tensor, covers: Covers, attempt: int) -> Tensor:
    """For each of ``rows`` [M] the other row of ``drawn`` [N,4,S,S], mask and colours, of this attempt, sized and moved
    so that its middle lies near a visible pixel of the row: [M,4,S,S]."""
    chosen = rows.numpy()
    zoom, pixel = covers.zoom[chosen, attempt], covers.pixel[chosen, attempt]
    aim = np.array([_some_pixel(mask, one) for mask, one in zip(crops.visible[rows], pixel, strict=True)])
    aim = aim * (2 / crops.size) - 1 + covers.shift[chosen, attempt]
    theta = torch.zeros(len(rows), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.from_numpy(1 / zoom).float()
    theta[:, :, 2] = torch.from_numpy(-aim / zoom[:, None]).float()
    source = drawn[torch.from_numpy(covers.others[chosen, attempt])]
    return grid_sample(source, affine_grid(theta, list(source.shape), align_corners=False), align_corners=False)


def _some_pixel(mask: Tensor, which: float) -> tuple[float, float]:
    """The middle (x, y) of a pixel of the mask [S,S], in pixels; of the crop where it is empty."""
    rows, columns = np.nonzero(mask.numpy() > 0.5)
    if not len(rows):
        return mask.shape[1] / 2, mask.shape[0] / 2
    i = int(which * len(rows))
    return columns[i] + 0.5, rows[i] + 0.5


def _cut_anew(batch: SupervisedCrops) -> SupervisedCrops:
    """The crops through the windows that their visible and occluder masks now have."""
    size = batch.crops.size
    windows = np.stack(
        [_window(v.numpy(), o.numpy()) for v, o in zip(batch.crops.visible, batch.crops.occluder, strict=True)]
    )
    theta = torch.zeros(len(windows), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.from_numpy((windows[:, 2] - windows[:, 0]) / size)
    theta[:, :, 2] = torch.from_numpy((windows[:, :2] + windows[:, 2:]) / size - 1)
    grid = affine_grid(theta, [len(windows), 1, size, size], align_corners=False)
    return batch.with_channels(grid_sample(batch.channels(), grid, padding_mode="border", align_corners=False))


def _window(visible: NDArray[np.float32], occluder: NDArray[np.float32]) -> NDArray[np.float32]:
    clear = visible > 0.5
    if not clear.any():
        return np.array([0, 0, len(clear), len(clear)], np.float32)
    return instance_window(clear, occluder > 0.5)
