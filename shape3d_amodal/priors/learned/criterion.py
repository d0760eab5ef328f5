"""What stages 2 and 3 learn from: silhouettes against the pixels of ``InstanceCrops`` of which something is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from shape3d_amodal.config import Weight, configuration
from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.priors.learned.ground import ground_errors
from shape3d_amodal.priors.learned.network import PriorOutput, ShapePrior
from shape3d_amodal.priors.losses import certain_iou, flatness_energy, laplacian_energy
from shape3d_amodal.structures import InstanceCrops, TensorBatch, Viewpoint


@configuration
class PriorLossConfig:
    """Weights and schedules of the prior's losses; progress runs from 0 to 1."""

    start_blur_px: float = 0.8
    """Blur of the silhouettes at the start, in crop pixels."""
    final_blur_px: float = 0.25
    """Blur of the silhouettes from ``blur_until`` on."""
    blur_until: float = 0.7
    """Progress at which the blur has fallen, geometrically, to its final value."""
    explore: float = 0.1
    """Probability of training a random hypothesis in place of the best one; falls to 0 at half time."""
    gate_start: float = 0.12
    """Progress up to which every instance has its category's template."""
    gate_end: float = 0.22
    """Progress from which instances have their own shapes in full."""
    laplacian: float = 0.02
    """Weight of the Laplacian energy."""
    flatness: float = 5e-4
    """Weight of the flatness energy, as far as the gate is open."""
    select: float = 0.1
    """Weight of the selection head's cross-entropy against the best hypothesis."""
    uniform: float = 0.02
    """Weight of the even use of the hypotheses."""
    offset: float = 0.02
    """Weight of the squared shift: the object frame stays about the object's centre."""
    choose_px: int = 32
    """Resolution at which the hypotheses are compared."""
    certain: bool = True
    """Whether silhouettes are compared on the certain pixels only; false treats occluders, and pixels beyond the image,
    as background."""
    assignment: Literal["min", "mean"] = "min"
    """Which hypotheses learn: the best one of each crop (min), or all, weighted by their probabilities (mean).
    ``explore`` has no effect with mean."""
    ground: Weight = 0.0
    """Weight of the squared difference, in radians, between the elevation and what a level camera says of an object on
    the ground: the angle at which it looks down on the object's middle. Needs annotated images of known cameras."""
    pairs: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the cross-view loss: a crop's shape from the viewpoint of another crop of the same shape, against that
    one's pixels. Scenes must not deform their meshes (train.scenes.deform 0): under the default every placing of a
    mesh is a shape of its own. Of annotated images these are crops of the same track (track_id)."""


@dataclass(frozen=True, eq=False, repr=False)
class PriorBatch(TensorBatch):
    """N crops with all that a prior may learn from.

    Attributes:
        crops: what the prior sees.
        target: what its silhouettes are judged by where that is more than ``crops`` tell: ``visible`` is what is
            certainly inside, ``occluder`` what is unknown; None for ``crops`` themselves.
        shape: [N] int64, equal where crops show the same rigid shape; None where nothing is known of it.
        slopes: [N,2], how the camera looks down on the windows (``ground.looking_down``); None where it is not asked.
    """

    crops: InstanceCrops
    target: InstanceCrops | None = None
    shape: Tensor | None = None
    slopes: Tensor | None = None


class PriorCriterion:
    """Named losses of a ``ShapePrior`` on crops; hard-min over the hypotheses with early exploration."""

    def __init__(self, config: PriorLossConfig, level: int) -> None:
        self.config = config
        self.template = icosphere(level)

    def gate(self, progress: float) -> float:
        start, end = self.config.gate_start, self.config.gate_end
        return min(1.0, max(0.0, (progress - start) / max(end - start, 1e-9)))

    def blur_px(self, progress: float) -> float:
        config = self.config
        share = min(1.0, progress / max(config.blur_until, 1e-9))
        return config.start_blur_px * (config.final_blur_px / config.start_blur_px) ** share

    def __call__(
        self,
        prior: ShapePrior,
        crops: InstanceCrops,
        progress: float,
        *,
        target: InstanceCrops | None = None,
        shape: Tensor | None = None,
        slopes: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Scalar losses, means over the crops.

        Args:
            prior: what learns.
            crops: what it sees.
            progress: 0..1, sets blur, gate and exploration.
            target, shape, slopes: as in ``PriorBatch``; without ``shape`` there is no loss of pairs, without ``slopes``
                none of the ground.
        """
        config = self.config
        if target is None:
            target = judged_by(crops, config)
        output = prior(crops, self.gate(progress))
        blur_px = self.blur_px(progress)
        best = self.hypothesis_scores(prior, output, target, blur_px).argmax(dim=1)
        views, weight = self._assigned(output, best, progress)
        usage = output.hypotheses.probability.mean(dim=0)
        losses = {
            "silhouette": mismatch(prior, output.mesh.verts, views, weight, target, blur_px).mean(),
            "laplacian": config.laplacian * laplacian_energy(output.mesh.verts, self.template).mean(),
            "select": config.select * cross_entropy(output.logits, best),
            "uniform": config.uniform * (usage * len(usage) - 1).abs().mean(),
            "offset": config.offset * (weight * views.offset.pow(2).sum(dim=-1)).sum(dim=1).mean(),
        }
        if self.gate(progress) > 0 and config.flatness > 0:
            flatness = config.flatness * self.gate(progress)
            losses["flatness"] = flatness * flatness_energy(output.mesh.verts, self.template).mean()
        if config.ground > 0 and slopes is not None:
            errors = ground_errors(views, slopes, math.radians(prior.config.viewpoint.max_elevation_deg))
            losses["ground"] = config.ground * (weight * errors).sum(dim=1).mean()
        if config.pairs > 0 and shape is not None:
            rows, partner = pairs_of(shape)
            across = mismatch(prior, output.mesh.verts[rows], views[partner], weight[partner], target[partner], blur_px)
            losses["pairs"] = config.pairs * across.sum() / len(shape)  # a mean over all rows, with a pair or without
        return losses

    @torch.no_grad()
    def hypothesis_scores(
        self, prior: ShapePrior, output: PriorOutput, target: InstanceCrops, blur_px: float
    ) -> Tensor:
        """Certain-pixel IoU of each hypothesis, [N,K], at a resolution of ``choose_px`` or the crops' own."""
        size = min(self.config.choose_px, target.size)
        shrink = target.size / size
        masks = (target.visible, target.occluder)
        visible, occluder = (adaptive_avg_pool2d(mask[:, None], size)[:, 0] for mask in masks)
        coarse = replace(target, visible=visible, occluder=occluder)
        views = output.hypotheses.viewpoint.detach()
        return hypothesis_ious(prior, output.mesh.verts.detach(), views, coarse, max(blur_px / shrink, 0.25))

    def _assigned(self, output: PriorOutput, best: Tensor, progress: float) -> tuple[Viewpoint, Tensor]:
        """The J viewpoints [N,J] of each crop that learn, and their weights [N,J], which sum to 1."""
        hypotheses = output.hypotheses
        if self.config.assignment == "mean":
            return hypotheses.viewpoint, hypotheses.probability
        chosen = self._explore(best, output.logits.shape[1], progress)
        views = hypotheses.pick(chosen)._map(lambda tensor: tensor[:, None])
        return views, torch.ones_like(views.scale)

    def _explore(self, best: Tensor, hypotheses: int, progress: float) -> Tensor:
        chance = self.config.explore * max(0.0, 1 - 2 * progress)
        random = torch.randint(hypotheses, best.shape, device=best.device)
        return torch.where(torch.rand(best.shape, device=best.device) < chance, random, best)


def judged_by(crops: InstanceCrops, config: PriorLossConfig) -> InstanceCrops:
    """What silhouettes are compared with where nothing but N crops is known."""
    return crops if config.certain else replace(crops, occluder=torch.zeros_like(crops.occluder))


def mismatch(
    prior: ShapePrior, verts: Tensor, views: Viewpoint, weight: Tensor, target: InstanceCrops, blur_px: float
) -> Tensor:
    """1 - certain-pixel IoU, [N] in 0..1, of meshes [N,V,3] over viewpoints [N,J] weighted by ``weight`` [N,J]."""
    if not len(verts):
        return verts.new_zeros(0)
    return (weight * (1 - hypothesis_ious(prior, verts, views, target, blur_px))).sum(dim=1)


def hypothesis_ious(
    prior: ShapePrior, verts: Tensor, views: Viewpoint, target: InstanceCrops, blur_px: float
) -> Tensor:
    """Certain-pixel IoU [N,J] of meshes [N,V,3], each seen from J viewpoints [N,J], with the crops ``target`` [N]."""
    N, J = views.scale.shape
    flat: Viewpoint = views._map(lambda tensor: tensor.flatten(0, 1))
    silhouettes = prior.silhouettes(verts.repeat_interleave(J, dim=0), flat, target.size, blur_px)
    visible, occluder = (mask.repeat_interleave(J, dim=0) for mask in (target.visible, target.occluder))
    repeated = replace(target, visible=visible, occluder=occluder)
    return certain_iou(silhouettes, repeated).view(N, J)


def pairs_of(shape: Tensor) -> tuple[Tensor, Tensor]:
    """Each row with the next one, around the end, of the same shape: rows [M] and their partners [M], int64.

    Args:
        shape: [N] int64; rows whose value no other row has are left out.
    """
    index = torch.arange(len(shape), device=shape.device)
    ahead = (index[None] - index[:, None] - 1) % len(shape)  # 0 for the next row, N - 1 for the row itself
    ahead = torch.where(shape[:, None] == shape[None], ahead, len(shape))
    distance, partner = ahead.min(dim=1)
    rows = torch.nonzero(distance < len(shape) - 1)[:, 0]
    return rows, partner[rows]
