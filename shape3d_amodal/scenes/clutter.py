"""What stands in a street and nobody annotates: poles, trees, bushes and branches, as flat pictures at one depth each.

Units are metres; the camera is that of ``scenes.street``. What they hide of a vehicle is missing in its visible mask,
with nothing in the annotations that tells why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.scenes.shading import Colors

_NEAREST, _FARTHEST = 4.0, 30.0


class Window(NamedTuple):
    """Part of a picture in pixels, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, eq=False)
class Sprite:
    """A flat thing: ``mask`` [h,w] bool and ``color`` [h,w,3] float32 in 0..1 of its window, all at ``depth``."""

    window: Window
    depth: float
    mask: NDArray[np.bool_]
    color: Colors


def clutter(
    focal: float, height: int, width: int, horizon: float, eye: float, rng: np.random.Generator
) -> list[Sprite]:
    """One thing at random: a pole, a tree (a pole and leaves), a bush or a branch that hangs into the picture.

    Args:
        focal: pixels.
        height, width: of the picture in pixels.
        horizon: row of the horizon.
        eye: height of the camera over the ground in metres.
        rng: generator.

    Returns:
        One or two sprites; none where nothing of it is in the picture.
    """
    depth = float(np.exp(rng.uniform(np.log(_NEAREST), np.log(_FARTHEST))))
    column = rng.uniform(0, width)
    scale = focal / depth  # pixels a metre

    def window(low: float, high: float, breadth: float) -> Window:
        """The part of the picture between two heights over the ground, ``breadth`` metres wide."""
        rows = horizon + (eye - np.array([high, low])) * scale
        half = max(breadth * scale / 2, 0.5)
        top, bottom = (int(np.clip(round(row), 0, height)) for row in rows)
        left, right = (int(np.clip(round(edge), 0, width)) for edge in (column - half, column + half))
        return Window(top, bottom, left, right)

    kind = rng.choice(["pole", "tree", "bush", "branch"], p=[0.4, 0.2, 0.25, 0.15])
    if kind == "bush":
        made = [_leaves(window(0, rng.uniform(0.6, 1.5), rng.uniform(0.8, 3)), depth, rng)]
    elif kind == "branch":
        made = [_leaves(window(rng.uniform(0.9, 1.6), rng.uniform(2.0, 4), rng.uniform(1, 3)), depth, rng)]
    elif kind == "tree":
        trunk = _pole(window(0, 3, rng.uniform(0.2, 0.5)), depth, rng)
        made = [trunk, _leaves(window(rng.uniform(1.4, 2.2), 6, rng.uniform(2, 4)), depth, rng)]
    else:
        made = [_pole(window(0, rng.uniform(2, 8), rng.uniform(0.08, 0.3)), depth, rng)]
    return [one for one in made if one.mask.any()]


def _pole(window: Window, depth: float, rng: np.random.Generator) -> Sprite:
    shape = window.bottom - window.top, window.right - window.left
    across = np.linspace(-1, 1, shape[1] + 2, dtype=np.float32)[1:-1]
    shade = np.float32(1) - np.float32(0.5) * (across - np.float32(rng.uniform(-0.6, 0.6))) ** 2
    color = rng.uniform(0.15, 0.7) * rng.uniform(0.85, 1, 3).astype(np.float32)
    return Sprite(window, depth, np.ones(shape, bool), np.broadcast_to(shade[None, :, None] * color, (*shape, 3)))


def _leaves(window: Window, depth: float, rng: np.random.Generator) -> Sprite:
    """An oval of leaves with a ragged edge and holes."""
    height, width = shape = window.bottom - window.top, window.right - window.left
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    leaf = max(2.0, min(height, width) / rng.uniform(6, 16))  # side in pixels
    noise = _blotches(shape, leaf, rng)
    mask = noise + np.float32(1.3) * (1 - down**2 - across**2) > 0.35
    green = np.array([rng.uniform(0.1, 0.45), rng.uniform(0.25, 0.5), rng.uniform(0.05, 0.25)], np.float32)
    shade = np.float32(0.75) + np.float32(0.35) * _blotches(shape, leaf / 2, rng)
    return Sprite(window, depth, mask, green * shade[..., None])


def _blotches(shape: tuple[int, int], side: float, rng: np.random.Generator) -> Colors:
    """[h,w] float32 in -1..1: random values on a grid of ``side`` pixels, bilinearly interpolated."""
    cells = [max(1, int(np.ceil(length / side))) for length in shape]
    grid = rng.uniform(-1, 1, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    rows, columns = (
        np.maximum(0, 1 - np.abs(np.arange(length)[:, None] / side - np.arange(count + 1))).astype(np.float32)
        for length, count in zip(shape, cells, strict=True)
    )
    blotches: Colors = rows @ grid @ columns.T
    return blotches
