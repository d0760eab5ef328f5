"""What stages 2 and 3 learn from: silhouettes against the certain pixels of ``InstanceCrops``, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from shape3d_amodal.config import configuration
from shape3d_amodal.geometry.templates import icosphere
from shape3d_amodal.reconstruction.losses import certain_iou, flatness_energy, laplacian_energy
from shape3d_amodal.structures import InstanceCrops, Viewpoint
from shape3d_amodal.viewpoint.prior import PriorOutput, ShapePrior


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

    def __call__(self, prior: ShapePrior, crops: InstanceCrops, progress: float) -> dict[str, Tensor]:
        """Scalar losses, means over the crops. ``progress`` (0..1) sets blur, gate and exploration."""
        config = self.config
        output = prior(crops, self.gate(progress))
        fit = self.hypothesis_scores(prior, output, crops, self.blur_px(progress))
        best = fit.argmax(dim=1)
        chosen = self._explore(best, fit.shape[1], progress)
        viewpoint = output.hypotheses.pick(chosen)
        silhouette = prior.silhouettes(output.mesh.verts, viewpoint, crops.size, self.blur_px(progress))
        usage = output.hypotheses.probability.mean(dim=0)
        losses = {
            "silhouette": (1 - certain_iou(silhouette, crops)).mean(),
            "laplacian": config.laplacian * laplacian_energy(output.mesh.verts, self.template).mean(),
            "select": config.select * cross_entropy(output.logits, best),
            "uniform": config.uniform * (usage * len(usage) - 1).abs().mean(),
            "offset": config.offset * viewpoint.offset.pow(2).sum(dim=1).mean(),
        }
        if self.gate(progress) > 0 and config.flatness > 0:
            weight = config.flatness * self.gate(progress)
            losses["flatness"] = weight * flatness_energy(output.mesh.verts, self.template).mean()
        return losses

    @torch.no_grad()
    def hypothesis_scores(self, prior: ShapePrior, output: PriorOutput, crops: InstanceCrops, blur_px: float) -> Tensor:
        """Certain-pixel IoU of each hypothesis, [N,K], at a resolution of ``choose_px`` or the crops' own."""
        N, K = output.logits.shape
        size = min(self.config.choose_px, crops.size)
        shrink = crops.size / size
        coarse = InstanceCrops(
            rgb=crops.rgb,
            visible=adaptive_avg_pool2d(crops.visible[:, None], size)[:, 0].repeat_interleave(K, dim=0),
            occluder=adaptive_avg_pool2d(crops.occluder[:, None], size)[:, 0].repeat_interleave(K, dim=0),
            category=crops.category,
            window=crops.window,
        )
        views: Viewpoint = output.hypotheses.viewpoint.detach()._map(lambda tensor: tensor.flatten(0, 1))
        verts = output.mesh.verts.detach().repeat_interleave(K, dim=0)
        silhouettes = prior.silhouettes(verts, views, size, max(blur_px / shrink, 0.25))
        return certain_iou(silhouettes, coarse).view(N, K)

    def _explore(self, best: Tensor, hypotheses: int, progress: float) -> Tensor:
        chance = self.config.explore * max(0.0, 1 - 2 * progress)
        random = torch.randint(hypotheses, best.shape, device=best.device)
        return torch.where(torch.rand(best.shape, device=best.device) < chance, random, best)
