"""What stage 5 learns from: the amodal mask, weighted by region."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from shape3d_amodal.config import configuration
from shape3d_amodal.refinement.regions import composed, edge_band
from shape3d_amodal.structures import SupervisedCrops


@configuration
class RefinementLossConfig:
    """Weights of the refinement's losses."""

    cross_entropy: float = 1.0
    """Weight of the cross-entropy in the hidden region."""
    edge: float = 1.0
    """Additional weight of the pixels about the true edge."""
    edge_px: int = 1
    """Half-width of that band in crop pixels."""
    whole_iou: float = 0.5
    """Weight of 1 - soft IoU of the whole mask."""
    hidden_iou: float = 0.5
    """Weight of 1 - soft IoU of the hidden part, for instances that have one."""


def refinement_losses(logits: Tensor, batch: SupervisedCrops, config: RefinementLossConfig) -> dict[str, Tensor]:
    """Scalar losses of logits [N,S,S].

    Only pixels that may hide the object are counted, as no others are free, and of them those that are known. An
    instance has a hidden part if more than 4 crop pixels of it are hidden; fewer may come from resampling.
    """
    crops = batch.crops
    known = 1 if batch.known is None else batch.known
    amodal = batch.amodal * known
    unknown = crops.occluder.minimum(1 - crops.visible) * known
    weight = unknown * (1 + config.edge * edge_band(amodal, config.edge_px))
    entropy = binary_cross_entropy_with_logits(logits, amodal, reduction="none")
    per_instance = (weight * entropy).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=16)

    mask = composed(logits.sigmoid(), crops) * known
    hidden = unknown * amodal
    guessed = unknown * logits.sigmoid()
    has_hidden = (hidden.sum(dim=(1, 2)) > 4).float()
    hidden_loss = (has_hidden * (1 - soft_iou(guessed, hidden))).sum() / has_hidden.sum().clamp(min=1)
    return {
        "cross_entropy": config.cross_entropy * per_instance.mean(),
        "whole_iou": config.whole_iou * (1 - soft_iou(mask, amodal)).mean(),
        "hidden_iou": config.hidden_iou * hidden_loss,
    }


def soft_iou(a: Tensor, b: Tensor) -> Tensor:
    """Soft IoU of masks [N,S,S] in 0..1, as [N]: sum of the minima over sum of the maxima."""
    return a.minimum(b).sum(dim=(1, 2)) / a.maximum(b).sum(dim=(1, 2)).clamp(min=1e-6)
