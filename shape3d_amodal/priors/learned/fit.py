"""The networks of stages 2 and 3 as a prior, with or without their fit at test time.

The fit takes a few gradient steps on shape code and viewpoint against the certain pixels of the very image. This is the
camera multiplex of U-CMR (Goel et al., ECCV 2020) at test time: every instance starts from its likeliest hypotheses,
all of them are optimised side by side, and the best one is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from shape3d_amodal.config import Count, Weight, configuration
from shape3d_amodal.priors.learned.network import PriorOutput, ShapePrior
from shape3d_amodal.priors.losses import laplacian_energy
from shape3d_amodal.priors.optimization import FreeViewpoint, optimize
from shape3d_amodal.structures import Estimate, InstanceCrops, Viewpoint

if TYPE_CHECKING:
    from shape3d_amodal.crops.pixels import PixelWindow


@configuration
class FitConfig:
    """The fit of shape code and viewpoint to one image."""

    steps: Annotated[int, Field(ge=0)] = 30
    """Adam steps; 0 leaves everything as the networks say."""
    starts: Count = 2
    """Hypotheses that are optimised side by side, the likeliest first."""
    learning_rate: float = 0.03
    """Adam's step for angles (radians), log-scale and shift."""
    code_rate: float = 0.1
    """Adam's step for the shape code."""
    code_weight: float = 2e-3
    """Weight of the squared distance of the code from its start."""
    vertex_rate: Weight = 0.0
    """Adam's step for an offset of each vertex (object frame), for shapes that the decoder cannot make; 0 for no
    offsets."""
    vertex_weight: Weight = 1.0
    """Weight of the offsets' Laplacian energy, the sum of squares over the mesh."""
    start_blur_px: float = 1.0
    """Blur of the silhouettes at the first step, in crop pixels; it falls geometrically to the prior's own."""


class LearnedPrior:
    """The selection head's choice, or the fit from the likeliest hypotheses (``interface.Prior``).

    Args:
        network: stages 2 and 3, in evaluation mode.
        categories: names of the categories that it counts.
        fit: the fit; by default none.
    """

    def __init__(self, network: ShapePrior, categories: tuple[str, ...], fit: FitConfig | None = None) -> None:
        self.network = network
        self.categories = self.known = categories
        self.fit = fit or FitConfig(steps=0)
        self.parameters = sum(parameter.numel() for parameter in network.parameters())

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def estimate(self, crops: InstanceCrops, *, windows: Sequence[PixelWindow] | None = None) -> Estimate:  # noqa: ARG002
        if self.fit.steps == 0:
            return self.network.estimate(crops)
        verts, viewpoint = fit(self.network, self.network(crops), crops, self.fit)
        return self.network.seen_from(verts, viewpoint, crops)

    def with_fit_steps(self, steps: int) -> LearnedPrior:
        return LearnedPrior(self.network, self.categories, replace(self.fit, steps=steps))


def fit(prior: ShapePrior, output: PriorOutput, crops: InstanceCrops, config: FitConfig) -> tuple[Tensor, Viewpoint]:
    """Optimise meshes and viewpoints of N crops, from the ``output`` that a prior in evaluation mode has for them.

    Returns:
        Vertices [N,V,3] and viewpoints [N]. Judged by its own score, the certain-pixel IoU at the prior's blur, no
        instance is worse than at its start, the selection head's choice. Viewpoints stay where the head's lie.
    """
    starts = min(config.starts, output.logits.shape[1])
    count = len(crops)
    order = output.logits.topk(starts, dim=1).indices  # [N, starts], the selection head's choice first
    repeated = crops[torch.arange(count, device=order.device).repeat_interleave(starts)]
    rows = torch.arange(count, device=order.device)[:, None]
    viewpoint = output.hypotheses.viewpoint._map(lambda tensor: tensor[rows, order].flatten(0, 1).detach())
    subject = _CodeAndViewpoint(prior, output.mesh.code.repeat_interleave(starts, dim=0), viewpoint, repeated, config)
    score = optimize(
        subject, repeated, steps=config.steps, start_blur_px=config.start_blur_px, final_blur_px=prior.config.blur_px
    )
    winner = rows[:, 0] * starts + score.view(count, starts).argmax(dim=1)
    with torch.no_grad():
        return subject.verts()[winner], subject.viewpoint.value().detach()[winner]


class _CodeAndViewpoint:
    """The shape code, the viewpoint and, if wanted, the vertices of each row (``optimization.Renderable``)."""

    def __init__(
        self, prior: ShapePrior, code: Tensor, viewpoint: Viewpoint, crops: InstanceCrops, config: FitConfig
    ) -> None:
        self._prior, self._crops, self._config = prior, crops, config
        self._start = code.detach()
        self.code = self._start.clone().requires_grad_()
        self.viewpoint = FreeViewpoint(viewpoint, prior.config.viewpoint.bounds)
        # Not mirrored, unlike the decoder's: the visible side says nothing of the other.
        shape = (len(code), *prior.decoder.template.verts.shape)
        self.offsets = code.new_zeros(shape).requires_grad_() if config.vertex_rate else None

    def groups(self) -> list[dict[str, Any]]:
        groups = [
            {"params": [self.code], "lr": self._config.code_rate},
            {"params": self.viewpoint.leaves, "lr": self._config.learning_rate},
        ]
        if self.offsets is not None:
            groups.append({"params": [self.offsets], "lr": self._config.vertex_rate})
        return groups

    def verts(self) -> Tensor:
        verts: Tensor = self._prior.decoder(self.code, self._crops.category).verts
        return verts if self.offsets is None else verts + self.offsets

    def silhouettes(self, blur_px: float) -> Tensor:
        return self._prior.silhouettes(self.verts(), self.viewpoint.value(), self._crops.size, blur_px)

    def penalty(self) -> Tensor:
        moved = self._config.code_weight * (self.code - self._start).pow(2).sum(dim=1)
        if self.offsets is None:
            return moved
        return moved + self._config.vertex_weight * laplacian_energy(self.offsets, self._prior.decoder.template)

    def clamp(self) -> None:
        self.viewpoint.clamp()
