"""Fit to the certain pixels by gradient steps; each row keeps the best state that it has reached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.structures import InstanceCrops, Viewpoint

_DECAY = 0.97
"""Factor of Adam's step from one step to the next."""
_LOOK_EVERY = 5
"""Steps between two looks at whether a row is better than it ever was."""


class Renderable(Protocol):
    """What is fitted: M rows of free parameters from which silhouettes are rendered."""

    def groups(self) -> list[dict[str, Any]]:
        """Adam's parameter groups; every tensor is a leaf with first dimension M."""

    def silhouettes(self, blur_px: float) -> Tensor:
        """Soft silhouettes [M,S,S] of the current parameters."""

    def penalty(self) -> Tensor:
        """Regularisation that is added to each row's loss, [M]."""

    def clamp(self) -> None:
        """Move parameters that left their range back to its nearest bound."""


def optimize(
    subject: Renderable, crops: InstanceCrops, *, steps: int, start_blur_px: float, final_blur_px: float
) -> Tensor:
    """Fit every row of ``subject`` to the crop of the same row, and leave it in its best state.

    Args:
        subject: what is fitted, in place.
        crops: M crops.
        steps: Adam steps; 0 leaves everything as it is.
        start_blur_px, final_blur_px: blur at the start, and at the end and of the score; between, it falls
            geometrically.

    Returns:
        [M] scores, certain-pixel IoU at the final blur; none is lower than at the start.
    """
    groups = subject.groups()
    leaves = [leaf for group in groups for leaf in group["params"]]
    optimizer = torch.optim.Adam(groups)

    def look() -> Tensor:
        with torch.no_grad():
            return certain_iou(subject.silhouettes(final_blur_px), crops)

    best = look()
    kept = [leaf.detach().clone() for leaf in leaves]
    with torch.enable_grad():
        for step in range(steps):
            blur_px = start_blur_px * (final_blur_px / start_blur_px) ** ((step + 1) / steps)
            loss = (1 - certain_iou(subject.silhouettes(blur_px), crops) + subject.penalty()).sum()
            # Not backward(): it would also compute, and leave behind, the gradients of the networks' weights.
            for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
                leaf.grad = gradient
            optimizer.step()
            subject.clamp()
            for group in optimizer.param_groups:
                group["lr"] *= _DECAY
            if step % _LOOK_EVERY == _LOOK_EVERY - 1 or step == steps - 1:
                score = look()
                better = score > best
                best = torch.where(better, score, best)
                for old, new in zip(kept, leaves, strict=True):
                    old[better] = new.detach()[better]
    with torch.no_grad():
        for leaf, value in zip(leaves, kept, strict=True):
            leaf.copy_(value)
    return best


@dataclass(frozen=True)
class ViewpointBounds:
    """Least and largest value of a viewpoint's numbers; the azimuth goes round. Unless told, a camera anywhere.

    Attributes:
        elevation, roll: radians.
        scale: not negative.
        offset: crop NDC, of either axis.
    """

    elevation: tuple[float, float] = (-math.pi / 2, math.pi / 2)
    roll: tuple[float, float] = (-math.inf, math.inf)
    scale: tuple[float, float] = (0.0, math.inf)
    offset: tuple[float, float] = (-math.inf, math.inf)


class FreeViewpoint:
    """A viewpoint of shape [M] as numbers that an optimiser may move; at the start it is exactly the given one."""

    def __init__(self, viewpoint: Viewpoint, bounds: ViewpointBounds | None = None) -> None:
        self._start, self._bounds = viewpoint, bounds or ViewpointBounds()
        moved = (viewpoint.azimuth, viewpoint.elevation, viewpoint.roll, torch.zeros_like(viewpoint.scale))
        self.leaves = [tensor.detach().clone().requires_grad_() for tensor in (*moved, viewpoint.offset)]

    def value(self) -> Viewpoint:
        azimuth, elevation, roll, log_scale, offset = self.leaves
        return Viewpoint(azimuth, elevation, roll, self._start.scale * log_scale.exp(), offset)

    @torch.no_grad()
    def clamp(self) -> None:
        """Put what lies out of bounds onto the nearest bound."""
        bounds, (_, elevation, roll, log_scale, offset) = self._bounds, self.leaves
        for leaf, (low, high) in ((elevation, bounds.elevation), (roll, bounds.roll), (offset, bounds.offset)):
            leaf.clamp_(low, high)
        smallest, largest = ((bound / self._start.scale).log() for bound in bounds.scale)
        log_scale.clamp_(smallest, largest)
