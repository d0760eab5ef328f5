"""Colours that people tell apart, as many as are needed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]

BLUE: Color = (0, 114, 178)
ORANGE: Color = (230, 159, 0)
GREEN: Color = (0, 158, 115)
RED: Color = (213, 94, 0)
PURPLE: Color = (204, 121, 167)
SKY: Color = (86, 180, 233)
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
"""Okabe and Ito's colours, which also the colour-blind tell apart."""
WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)

_LEVELS = np.arange(0, 256, 15)  # of each channel
_LIGHTNESS = (0.42, 0.88)  # neither lost in shadows nor in white
_CHROMA = 0.07  # greys look like parts of the image
_BLOCK = 64  # colours that are searched for at once


def distinct_colors(count: int) -> tuple[Color, ...]:
    """``count`` different colours, the first ones those of ``PALETTE``.

    Each further one is, of all strong colours of medium lightness, the one that is farthest from those before it as
    people see them. More of them leave the first ones as they are. After some 4,000 they begin again.
    """
    if count <= len(PALETTE):
        return PALETTE[:count]
    found = _farthest(-(-count // _BLOCK) * _BLOCK)
    return tuple(found[number % len(found)] for number in range(count))


def ink_on(color: Color) -> Color:
    """Black or white, whichever is easier to read on ``color``, by the contrast that WCAG 2 defines."""
    luminance = float(_linear(np.array(color)) @ [0.2126, 0.7152, 0.0722])
    return BLACK if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else WHITE


@lru_cache
def _farthest(count: int) -> tuple[Color, ...]:
    """``count`` colours, or all that there are."""
    grid = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = _oklab(grid)
    chroma = np.hypot(seen[:, 1], seen[:, 2])
    fits = (seen[:, 0] > _LIGHTNESS[0]) & (seen[:, 0] < _LIGHTNESS[1]) & (chroma > _CHROMA)
    grid, seen = grid[fits], seen[fits]
    chosen = list(PALETTE)
    distance = np.min([_distance(seen, one) for one in _oklab(np.array(PALETTE))], axis=0)
    while len(chosen) < min(count, len(PALETTE) + len(grid)):
        place = int(distance.argmax())
        red, green, blue = grid[place].tolist()
        chosen.append((red, green, blue))
        distance = np.minimum(distance, _distance(seen, seen[place]))
    return tuple(chosen)


def _distance(points: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(points - point, axis=1))


def _oklab(colors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lightness and two opponent colours [N,3] of sRGB colours [N,3] in 0..255 (Ottosson's Oklab, 2020)."""
    cones = np.cbrt(_linear(colors) @ _TO_CONES.T)
    return np.asarray(cones @ _TO_LAB.T)


def _linear(colors: NDArray[np.int64]) -> NDArray[np.float64]:
    """sRGB colours [...,3] in 0..255 as amounts of light in 0..1 (IEC 61966-2-1)."""
    shares = colors / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


_TO_CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_TO_LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
