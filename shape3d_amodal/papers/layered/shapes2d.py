"""Triangles, rectangles and circles that hide each other: the data set of Layered Embeddings (Liu et al., 2019).

All shapes have a fixed size and the background's colour, so that only their outlines are visible; places, angles and
depth order are random. Scene k depends on the configuration, the seed and k alone, and is drawn in a few milliseconds.

The paper leaves sizes and places open. The defaults are those of the authors' code: a circle 0.25 of the image's side
across, an equilateral triangle of 0.3, a rectangle of 0.1 x 0.8. A corner of each shape (of a circle's box) is placed
anywhere but in the outer tenth of the image, so that shapes may reach beyond the image's border.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from shape3d_amodal.config import configuration

ShapeClass = Literal["circle", "triangle", "rectangle"]
CLASSES: tuple[ShapeClass, ...] = ("circle", "triangle", "rectangle")

Share = Annotated[float, Field(gt=0, le=2)]
Window = tuple[slice, slice]


@configuration
class Shapes2dConfig:
    """What is in a scene. Lengths are shares of the image's side."""

    classes: Annotated[tuple[ShapeClass, ...], Field(min_length=1)] = CLASSES
    """Classes that are drawn."""
    per_class: Annotated[int, Field(ge=0, le=100)] = 6
    """Instances of each class (N); fully hidden ones are removed again."""
    size: Annotated[int, Field(ge=16, le=4096)] = 256
    """Side of the image in pixels."""
    circle: Share = 0.25
    """Diameter of circles."""
    triangle: Share = 0.3
    """Side of triangles."""
    rectangle: tuple[Share, Share] = (0.1, 0.8)
    """Sides of rectangles."""
    margin: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Width of the image's border in which no corner lies."""
    line: Annotated[float, Field(ge=1)] = 2.0
    """Width of outlines in pixels; half of it is added to the sizes, since outlines belong to the shapes."""


@dataclass(frozen=True)
class ShapeScene:
    """An image and its shapes, the nearest first, all of them at least partly visible.

    Attributes:
        image: [S,S] uint8, black lines on white.
        masks: [N,S,S] bool, amodal masks, as far as they lie inside the image.
        classes: [N] int64, places in ``CLASSES``.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    classes: NDArray[np.int64]

    def on_grid(self, stride: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Every ``stride``-th pixel: masks [M,S/stride,S/stride] and classes [M] of the shapes visible there."""
        sampled = np.ascontiguousarray(self.masks[:, stride // 2 :: stride, stride // 2 :: stride])
        kept = visible_parts(sampled).any(axis=(1, 2))
        return sampled[kept], self.classes[kept]


def make_shapes(config: Shapes2dConfig, seed: int, index: int) -> ShapeScene:
    """Scene ``index`` of ``seed``."""
    rng = np.random.default_rng([seed, zlib.crc32(b"shapes2d"), index])
    kinds = [CLASSES.index(name) for name in config.classes for _ in range(config.per_class)]
    classes = rng.permutation(np.array(kinds, np.int64))
    image = np.full((config.size, config.size), 255, np.uint8)
    masks = np.zeros((len(classes), config.size, config.size), np.bool_)
    covered = np.zeros_like(image, np.bool_)
    for kind, mask in zip(classes.tolist(), masks, strict=True):
        window, distance = _outline(config, CLASSES[kind], rng)
        mask[window] = distance <= config.line / 2
        image[window][~covered[window] & (np.abs(distance) <= config.line / 2)] = 0
        covered |= mask
    kept = visible_parts(masks).any(axis=(1, 2))
    return ShapeScene(image, masks[kept], classes[kept])


@njit(cache=True)
def depth_layers(masks, count):  # type: ignore[no-untyped-def]
    """The first ``count`` masks at each pixel in depth order: [count,H,W] int64, 1 + place in ``masks``, 0 for none.

    Args:
        masks: [N,H,W] bool, the nearest first.
    """
    layers = np.zeros((count, masks.shape[1], masks.shape[2]), np.int64)
    for y in range(masks.shape[1]):
        for x in range(masks.shape[2]):
            depth = 0
            for i in range(len(masks)):
                if depth < count and masks[i, y, x]:
                    layers[depth, y, x] = i + 1
                    depth += 1
    return layers


def visible_parts(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The visible parts [N,H,W] bool of ``masks`` [N,H,W] bool, the nearest first."""
    nearest = depth_layers(masks, 1)[0]
    result: NDArray[np.bool_] = nearest == np.arange(1, len(masks) + 1)[:, None, None]
    return result


def _outline(config: Shapes2dConfig, kind: ShapeClass, rng: np.random.Generator) -> tuple[Window, NDArray[np.float64]]:
    """A shape at a random place: the window around it, and the distance [h,w] of the window's pixels from its outline.

    Distances are in pixels, negative inside.
    """
    angle = rng.uniform(0, 2 * np.pi)
    place = rng.uniform(config.margin, 1 - config.margin, 2) * config.size
    if kind == "circle":
        radius = config.circle / 2 * config.size
        window = _around(np.stack([place, place + 2 * radius]), config)
        x, y = _centres(window)
        return window, np.hypot(x - place[0] - radius, y - place[1] - radius) - radius
    if kind == "triangle":
        corners = np.array([[0, 0], [1, 0], [0.5, sqrt(0.75)]]) * config.triangle
    else:
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * config.rectangle
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = corners * config.size @ turn + place
    window = _around(corners, config)
    x, y = _centres(window)
    sides = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([sides[:, 1], -sides[:, 0]], axis=1) / np.linalg.norm(sides, axis=1, keepdims=True)
    beyond = [nx * x + (ny * y - (nx * cx + ny * cy)) for (nx, ny), (cx, cy) in zip(normals, corners, strict=True)]
    return window, np.maximum.reduce(beyond)


def _around(points: NDArray[np.float64], config: Shapes2dConfig) -> Window:
    """The window of the image around ``points`` [P,2] (x, y), enlarged by a line's width."""
    low = np.clip(np.floor(points.min(axis=0) - config.line), 0, config.size).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + config.line), 0, config.size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _centres(window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x [1,w] and y [h,1] of the pixels' centres."""
    rows, columns = window
    x, y = (np.arange(part.start, part.stop, dtype=np.float64) + 0.5 for part in (columns, rows))
    return x[None], y[:, None]
