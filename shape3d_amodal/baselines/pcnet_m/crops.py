"""Square crops of visible masks, and training examples: masks from which those of other instances are cut out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from shape3d_amodal.config import Count, Share, configuration
from shape3d_amodal.errors import UsageError
from shape3d_amodal.masks.occlusion import Mask
from shape3d_amodal.structures import TensorBatch

Window = tuple[float, float, float]
"""Left, top and side in image pixels."""

ENLARGE = 3.0
"""Area of the window over that of the box."""
MARGIN = 1.1
"""Least side of the window over each side of the box."""
_MOST_SAMPLES = 8
Factor = Annotated[float, Field(gt=0)]


@configuration
class ErasingConfig:
    """How visible masks are cut."""

    front: Share = 0.8
    """Share of the examples whose eraser cuts the mask; in the others it lies behind, and nothing may be added."""
    overlap: tuple[Share, Share] = (0.4, 1.0)
    """Range of the share of its crop that the eraser's crop covers."""
    cut: tuple[Share, Share] = (0.001, 0.9)
    """Range of the share of the mask that the eraser covers."""
    tries: Count = 100
    """Largest number of places that are tried; the last one is taken in any case."""
    shift: Share = 0.2
    """Largest shift of the mask in its crop, as a share of the crop's side."""
    scale: tuple[Factor, Factor] = (0.8, 1.2)
    """Range of the factor by which crops are enlarged."""

    def __post_init__(self) -> None:
        for name in ("overlap", "cut", "scale"):
            low, high = getattr(self, name)
            if low > high:
                raise UsageError(f"{name}: expected the lower end before the upper one, got {low}, {high}; swap them")


@dataclass(frozen=True, eq=False, repr=False)
class ErasedMasks(TensorBatch):
    """N examples, without any amodal mask: ``target`` is a visible mask.

    Attributes:
        visible: [N,S,S] bool, the visible mask less the eraser.
        eraser: [N,S,S] bool, another instance's visible mask; without ``target`` where it lies behind.
        target: [N,S,S] bool, the visible mask before anything was cut.
    """

    visible: Tensor
    eraser: Tensor
    target: Tensor


def erase(
    mask: Mask, other: Mask, size: int, config: ErasingConfig, generator: np.random.Generator
) -> tuple[Mask, Mask, Mask]:
    """One example: visible, eraser and target, [size,size] bool each (``ErasedMasks``).

    Args:
        mask, other: visible masks [H,W] bool of two instances, neither empty.
    """
    target = look_at_random(mask, size, config, generator, shift=config.shift)
    crop = look_at_random(other, size, config, generator, shift=0.0)
    eraser = place_eraser(target, crop, config, generator)
    if generator.random() < config.front:
        return target & ~eraser, eraser, target
    return target, eraser & ~target, target


def look_at_random(mask: Mask, size: int, config: ErasingConfig, generator: np.random.Generator, shift: float) -> Mask:
    """``mask`` in its window, scaled, shifted by up to ``shift`` of the window's side, and mirrored at random."""
    left, top, side = object_window(mask)
    larger = side / generator.uniform(*config.scale)
    dx, dy = generator.uniform(-shift, shift, 2) * side - (larger - side) / 2
    crop = look(mask, (left + dx, top + dy, larger), size)
    return crop[:, ::-1] if generator.random() < 0.5 else crop


def place_eraser(target: Mask, crop: Mask, config: ErasingConfig, generator: np.random.Generator) -> Mask:
    """``crop``, shifted to a random overlap of the two squares at which it covers a share in ``cut`` of ``target``."""
    area = max(int(target.sum()), 1)
    for _ in range(config.tries):
        eraser = moved(crop, *random_offset(config.overlap, generator))
        if config.cut[0] <= (target & eraser).sum() / area < config.cut[1]:
            break
    return eraser


def random_offset(overlap: tuple[float, float], generator: np.random.Generator) -> tuple[float, float]:
    """An offset (x, y) of two unit squares whose shared part (1 - |x|) (1 - |y|) is random in ``overlap``."""
    share = generator.uniform(*overlap)
    x = generator.uniform(share - 1, 1 - share)
    y = 1 - share / (1 - abs(x))
    return x, y if generator.random() < 0.5 else -y


def moved(mask: Mask, x: float, y: float) -> Mask:
    """``mask`` [S,S] moved right and down by these shares of its side; the freed pixels are empty."""
    size = len(mask)
    dx, dy = round(x * size), round(y * size)
    result: NDArray[np.bool_] = np.zeros_like(mask)
    result[max(dy, 0) : size + min(dy, 0), max(dx, 0) : size + min(dx, 0)] = mask[
        max(-dy, 0) : size - max(dy, 0), max(-dx, 0) : size - max(dx, 0)
    ]
    return result


def tight_box(mask: Mask) -> tuple[int, int, int, int]:
    """x, y, width, height of the box around the pixels of ``mask`` [H,W] bool, which is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1


def object_window(mask: Mask) -> Window:
    """The square about the middle of the mask's box, of side max(sqrt(3 w h), 1.1 w, 1.1 h)."""
    x, y, width, height = tight_box(mask)
    side = max(math.sqrt(ENLARGE * width * height), MARGIN * width, MARGIN * height)
    return x + width / 2 - side / 2, y + height / 2 - side / 2, side


def look(mask: Mask, window: Window, size: int) -> Mask:
    """The crop [size,size] bool of ``mask`` [H,W] bool in a window: pixels that it covers at least half of.

    Pixels beyond the image are not covered.
    """
    left, top, side = window
    samples = min(max(math.ceil(side / size), 1), _MOST_SAMPLES)
    steps = (np.arange(size * samples) + 0.5) * (side / (size * samples))
    rows, columns = np.floor(top + steps).astype(int), np.floor(left + steps).astype(int)
    inside = [(places >= 0) & (places < length) for places, length in zip((rows, columns), mask.shape, strict=True)]
    fine = np.zeros((len(rows), len(columns)), bool)
    fine[np.ix_(*inside)] = mask[np.ix_(rows[inside[0]], columns[inside[1]])]
    if samples == 1:
        return fine
    return fine.reshape(size, samples, size, samples).mean(axis=(1, 3)) >= 0.5
