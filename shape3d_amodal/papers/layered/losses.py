"""The losses: cross-entropy of the classes, and the discriminative loss over layers (paper, eq. 1 to 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shape3d_amodal.config import Weight, configuration
from shape3d_amodal.papers.layered.network import LayeredOutput


@configuration
class LayeredLossConfig:
    """Weights and margins, as in the paper."""

    variance: Weight = 1.0
    """Weight (alpha) of the loss that pulls each pixel to its instance's mean."""
    distance: Weight = 1.0
    """Weight (beta) of the loss that pushes the means of two instances of a class apart."""
    regularization: Weight = 1.0
    """Weight (gamma) of the loss that pulls all means to the origin; 0.01 in the authors' code."""
    variance_margin: Weight = 0.5
    """L1 distance up to which a pixel is not pulled to its mean."""
    distance_margin: Weight = 1.5
    """Half the L1 distance from which on two means are not pushed apart."""


@dataclass(frozen=True)
class LayeredTarget:
    """The truth of B images at the output's resolution.

    Attributes:
        instances: [B,L,H,W] int64, the instance at each pixel, the nearest layer first: 1 to M, 0 for none.
        classes: [B,M] int64, the class of each instance, 0 to K - 1; values of missing instances are not used.
    """

    instances: Tensor
    classes: Tensor

    def pixel_classes(self) -> Tensor:
        """[B,L,H,W] int64: 1 + the class of the instance at each pixel, 0 for none."""
        known = nn.functional.pad(self.classes + 1, (1, 0))  # [B,1+M]
        return known.gather(1, self.instances.flatten(1)).view_as(self.instances)


def layered_losses(output: LayeredOutput, target: LayeredTarget, config: LayeredLossConfig) -> dict[str, Tensor]:
    """All losses, weighted, means over the images."""
    variance, distance, regularization = embedding_losses(output.embeddings, target, config)
    return {
        "class": class_loss(output.logits, target.pixel_classes()),
        "variance": config.variance * variance,
        "distance": config.distance * distance,
        "regularization": config.regularization * regularization,
    }


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross entropy of each layer, summed over layers.

    Args:
        logits: [B,L,1+K,H,W].
        classes: [B,L,H,W] int64, 0 for nothing.
    """
    return nn.functional.cross_entropy(logits.flatten(0, 1), classes.flatten(0, 1)) * logits.shape[1]


def embedding_losses(
    embeddings: Tensor, target: LayeredTarget, config: LayeredLossConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Variance, distance and regularisation (equations 1, 2 and 3), unweighted, means over the images.

    N counts the instances with a pixel in any layer. A class with one instance adds no distance, an image without
    instances adds no loss.

    Args:
        embeddings: [B,L,C,H,W].
    """
    points = embeddings.permute(0, 1, 3, 4, 2).flatten(1, 3)  # [B,P,C]
    owner = target.instances.flatten(1)  # [B,P]
    slots = target.classes.shape[1] + 1  # 0 is nothing
    areas = _sums(torch.ones_like(points[..., :1]), owner, slots)  # [B,1+M,1]
    mean, area = _sums(points, owner, slots) / areas.clamp(min=1), areas[:, 1:, 0]  # [B,1+M,C], [B,M]
    present = area > 0
    number = present.sum(dim=1).clamp(min=1)  # [B]

    own = mean.gather(1, owner[..., None].expand_as(points))
    excess = ((own - points).abs().sum(dim=-1) - config.variance_margin).clamp(min=0).square()
    spread = _sums(excess[..., None], owner, slots)[:, 1:, 0] / area.clamp(min=1)
    variance = (spread * present).sum(dim=1) / number

    mean = mean[:, 1:]
    gaps = (mean[:, :, None] - mean[:, None]).abs().sum(dim=-1)  # [B,M,M]
    alike = (target.classes[:, :, None] == target.classes[:, None]) & present[:, :, None] & present[:, None]
    members = alike.sum(dim=-1, keepdim=True)  # [B,M,1]
    others = alike & ~torch.eye(alike.shape[-1], dtype=torch.bool, device=alike.device)
    push = (2 * config.distance_margin - gaps).clamp(min=0).square()
    distance = (others * push / (members * (members - 1)).clamp(min=1)).sum(dim=(1, 2))

    regularization = (mean.abs().sum(dim=-1) * present).sum(dim=1) / number
    return variance.mean(), distance.mean(), regularization.mean()


def _sums(values: Tensor, owner: Tensor, slots: int) -> Tensor:
    """Sums [B,slots,C] of the ``values`` [B,P,C] that have the same ``owner`` [B,P]."""
    zeros = values.new_zeros(len(values), slots, values.shape[-1])
    return zeros.scatter_add(1, owner[..., None].expand_as(values), values)
