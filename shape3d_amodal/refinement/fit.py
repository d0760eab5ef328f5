"""Fit at test time: a few gradient steps on shape code and viewpoint against the certain pixels of the very image.

This is the camera multiplex of U-CMR (Goel et al., ECCV 2020) at test time: every instance starts from its likeliest
hypotheses, all of them are optimised side by side, and the best one is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shape3d_amodal.config import configuration
from shape3d_amodal.reconstruction.losses import certain_iou
from shape3d_amodal.structures import InstanceCrops, Viewpoint
from shape3d_amodal.viewpoint.prior import PriorOutput, ShapePrior


@configuration
class FitConfig:
    """The fit of shape code and viewpoint to one image."""

    steps: int = 30
    """Adam steps; 0 leaves everything as the networks say."""
    starts: int = 2
    """Hypotheses that are optimised side by side, the likeliest first."""
    learning_rate: float = 0.03
    """Adam's step for angles (radians), log-scale and shift."""
    code_rate: float = 0.1
    """Adam's step for the shape code."""
    code_weight: float = 2e-3
    """Weight of the squared distance of the code from where it started."""
    start_blur_px: float = 1.0
    """Blur of the silhouettes at the first step, in crop pixels; it falls geometrically to the prior's own."""


def fit(prior: ShapePrior, output: PriorOutput, crops: InstanceCrops, config: FitConfig) -> tuple[Tensor, Viewpoint]:
    """Optimise meshes and viewpoints of N crops.

    Args:
        prior: the learned prior, in evaluation mode.
        output: its outputs for the crops; where the fit starts.
        crops: the instances.
        config: the fit.

    Returns:
        Vertices [N,V,3] and viewpoints [N]. Judged by its own score, the certain-pixel IoU at the prior's blur, no
        instance is worse than at its start, the selection head's choice.
    """
    starts = min(config.starts, output.logits.shape[1])
    count = len(crops)
    order = output.logits.topk(starts, dim=1).indices  # [N, starts], the selection head's choice first
    repeated = crops[torch.arange(count, device=order.device).repeat_interleave(starts)]
    rows = torch.arange(count, device=order.device)[:, None]
    viewpoint = output.hypotheses.viewpoint._map(lambda tensor: tensor[rows, order].flatten(0, 1).detach())
    code = output.mesh.code.detach().repeat_interleave(starts, dim=0)

    best = _Best(prior, repeated)
    best.update(code, viewpoint)
    free = _Free(code, viewpoint)
    optimizer = torch.optim.Adam(
        [{"params": [free.code], "lr": config.code_rate}, {"params": free.view, "lr": config.learning_rate}]
    )
    moving = [free.code, *free.view]
    final_blur = prior.config.blur_px
    with torch.enable_grad():
        for step in range(config.steps):
            share = (step + 1) / config.steps
            blur_px = config.start_blur_px * (final_blur / config.start_blur_px) ** share
            verts = prior.decoder(free.code, repeated.category).verts
            silhouette = prior.silhouettes(verts, free.viewpoint(), crops.size, blur_px)
            moved = (free.code - code).pow(2).sum(dim=1)
            loss = (1 - certain_iou(silhouette, repeated) + config.code_weight * moved).sum()
            # Not backward(): it would also compute, and leave behind, the gradients of the networks' weights.
            for tensor, gradient in zip(moving, torch.autograd.grad(loss, moving), strict=True):
                tensor.grad = gradient
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] *= 0.97
            if step % 5 == 4 or step == config.steps - 1:
                best.update(free.code.detach(), free.viewpoint().detach())
    return best.choose(count)


class _Free:
    """What Adam moves: the code, and the viewpoint with its scale as a logarithm."""

    def __init__(self, code: Tensor, viewpoint: Viewpoint) -> None:
        self.code = code.clone().requires_grad_()
        angles = [viewpoint.azimuth, viewpoint.elevation, viewpoint.roll, viewpoint.scale.log(), viewpoint.offset]
        self.view = [tensor.clone().requires_grad_() for tensor in angles]

    def viewpoint(self) -> Viewpoint:
        azimuth, elevation, roll, log_scale, offset = self.view
        return Viewpoint(azimuth, elevation, roll, log_scale.exp(), offset)


class _Best:
    """The best code and viewpoint that each start has met so far."""

    def __init__(self, prior: ShapePrior, crops: InstanceCrops) -> None:
        self.prior, self.crops = prior, crops
        self.score = torch.full_like(crops.visible[:, 0, 0], -1.0)
        self.verts: Tensor
        self.viewpoint: Viewpoint

    @torch.no_grad()
    def update(self, code: Tensor, viewpoint: Viewpoint) -> None:
        verts = self.prior.decoder(code, self.crops.category).verts
        score = certain_iou(self.prior.silhouettes(verts, viewpoint, self.crops.size), self.crops)
        if (self.score < 0).all():
            self.score, self.verts, self.viewpoint = score, verts, viewpoint
            return
        better = score > self.score
        self.score = torch.where(better, score, self.score)
        self.verts = torch.where(better[:, None, None], verts, self.verts)
        pairs = {
            name: torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)
            for name, new, old in _fields(viewpoint, self.viewpoint)
        }
        self.viewpoint = Viewpoint(**pairs)

    def choose(self, count: int) -> tuple[Tensor, Viewpoint]:
        """The best start of each of ``count`` instances."""
        winner = self.score.view(count, -1).argmax(dim=1)
        rows = torch.arange(count, device=winner.device) * (len(self.score) // count) + winner
        return self.verts[rows], self.viewpoint[rows]


def _fields(new: Viewpoint, old: Viewpoint) -> list[tuple[str, Tensor, Tensor]]:
    names = ("azimuth", "elevation", "roll", "scale", "offset")
    return [(name, getattr(new, name), getattr(old, name)) for name in names]
