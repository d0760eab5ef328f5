"""Stage 3 without training: the shapes and viewpoints of a bank that explain the certain pixels of a crop best."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from shape3d_amodal.config import configuration
from shape3d_amodal.priors.bank.placing import place_all, place_near
from shape3d_amodal.priors.bank.shapes import BankShapes
from shape3d_amodal.structures import InstanceCrops, TensorBatch, Viewpoint


@configuration
class MatchConfig:
    """The search, coarse to fine."""

    coarse_px: int = 20
    """Side of the crops in which every silhouette is placed."""
    fine_px: int = 48
    """Side of the crops in which the best of them are placed again."""
    smallest: float = 0.33
    """Least length of a silhouette's longer side, as a share of the crop's side."""
    largest: float = 0.95
    """Largest length of a silhouette's longer side."""
    ratio: float = 1.13
    """Ratio of one size to the next."""
    candidates: int = 48
    """Silhouettes that are placed again."""


@dataclass(frozen=True, eq=False, repr=False)
class Matches(TensorBatch):
    """The K best silhouettes of a bank for one crop, the best first.

    Attributes:
        mesh: [K] int64, index into ``BankShapes.meshes``.
        viewpoint: shapes [K].
        score: [K] float32 in 0..1, certain-pixel IoU of the placed silhouette at the fine resolution.
    """

    mesh: Tensor
    viewpoint: Viewpoint
    score: Tensor


def match(
    shapes: BankShapes, crop: InstanceCrops, count: int, config: MatchConfig, *, without: Collection[str] = ()
) -> Matches:
    """Place all silhouettes of ``shapes`` over one crop, and the best of them again, more finely.

    Args:
        shapes: the shapes of the crop's category.
        crop: one instance (N = 1).
        count: matches to return, at most; K.
        config: the search.
        without: names of meshes that are left out, as if the bank did not know them (where it has others).

    Returns:
        K matches; fewer where fewer silhouettes can be placed, but at least one.
    """
    box = shapes.high - shapes.low
    shape = (box / box.max(axis=1, keepdims=True))[:, ::-1].astype(np.float32)  # height, width
    visible, possible = _regions(crop, config.coarse_px)
    steps = int(np.log(config.largest / config.smallest) / np.log(config.ratio) + 1e-6) + 1
    sizes = config.smallest * config.ratio ** np.arange(steps) * config.coarse_px
    coarse = place_all(shapes.integral, shape, visible, possible, sizes.astype(np.float32))
    left_out = [index for index, name in enumerate(shapes.names) if name in without]
    if len(left_out) < len(shapes.names):
        coarse[np.isin(shapes.mesh, left_out)] = 0
    order = np.argsort(-coarse[:, 0], kind="stable")[: max(config.candidates, count)]
    order = order[coarse[order, 0] > 0]
    if len(order) == 0:
        return _filling(shapes, shape)

    zoom = config.fine_px / config.coarse_px
    factors = (config.ratio ** np.linspace(-0.5, 0.5, 5)).astype(np.float32)
    visible, possible = _regions(crop, config.fine_px)
    starts = coarse[order] * np.array([1, zoom, zoom, zoom], np.float32)
    fine = place_near(
        shapes.integral[order], shape[order], visible, possible, starts, factors, reach=int(np.ceil(zoom))
    )
    found = np.argsort(-fine[:, 0], kind="stable")[:count]
    chosen = order[found]
    return Matches(
        mesh=torch.from_numpy(shapes.mesh[chosen]),
        viewpoint=_viewpoints(shapes, chosen, shape[chosen], fine[found], config.fine_px),
        score=torch.from_numpy(fine[found, 0]),
    )


def _filling(shapes: BankShapes, shape: NDArray[np.float32]) -> Matches:
    """Where no silhouette can hold what is visible, one match that fills the crop: the nearest to a square."""
    chosen = np.argmax(shape.min(axis=1, keepdims=True), axis=0)
    place = np.array([[0.0, 1.0, 0.0, 0.0]], np.float32)
    place[:, 2:] = (1 - shape[chosen]) / 2
    viewpoint = _viewpoints(shapes, chosen, shape[chosen], place, 1)
    return Matches(torch.from_numpy(shapes.mesh[chosen]), viewpoint, torch.zeros(1))


def _regions(crop: InstanceCrops, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shares [size,size] of the crop's pixels that are visible, and that are visible or occluder."""
    visible = crop.visible[0].cpu()
    possible = (visible + crop.occluder[0].cpu()).clamp(max=1)
    small = adaptive_avg_pool2d(torch.stack([visible, possible]), size).numpy()
    return np.ascontiguousarray(small[0]), np.ascontiguousarray(small[1])


def _viewpoints(
    shapes: BankShapes, chosen: NDArray[np.int64], shape: NDArray[np.float32], places: NDArray[np.float32], size: int
) -> Viewpoint:
    """The cameras that draw silhouettes of ``shapes`` at ``places`` in a crop of ``size`` pixels."""
    low, high = shapes.low[chosen], shapes.high[chosen]
    scale = 2 * places[:, 1] / size / (high - low).max(axis=1)
    middle = places[:, 2:] + shape * places[:, 1:2] / 2  # row, column
    aim = 1 - 2 * middle[:, ::-1] / size  # NDC: x to the left, y up
    offset = aim - scale[:, None] * (low + high) / 2
    return Viewpoint(
        azimuth=torch.from_numpy(shapes.azimuth[chosen]),
        elevation=torch.from_numpy(shapes.elevation[chosen]),
        roll=torch.zeros(len(chosen)),
        scale=torch.from_numpy(scale.astype(np.float32)),
        offset=torch.from_numpy(offset.astype(np.float32)),
    )
