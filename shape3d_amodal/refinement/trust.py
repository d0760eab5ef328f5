"""How far stage 5 trusts the silhouettes of known shapes: a small network weighs them against its own completion.

A bank may hold the very shape, one like it, or none. What it says of itself (how well it explains what is certain, how
much its poses agree) and how it compares with the completion tell which. From these few numbers the network makes two
weights and a bias for each object, by which the logits of both are added, at the resolution of the silhouettes.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from shape3d_amodal.config import configuration
from shape3d_amodal.structures import Estimate, InstanceCrops

SIGNS = 7
"""Numbers that trust depends on (``signs``)."""
_SURE = 0.02
"""Silhouettes are clamped to this and 1 minus this, so that their logits are finite."""
_MOST = math.log((1 - _SURE) / _SURE)
"""Logits of the completion are clamped likewise: else what it is sure of could never be outweighed."""


@configuration
class TrustConfig:
    """Sizes of the network of trust."""

    hidden: Annotated[int, Field(ge=1)] = 12
    """Its hidden units."""


class Trust(nn.Module):
    """Completion and silhouette to the logits of the amodal mask."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: TrustConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(SIGNS, config.hidden), nn.Tanh(), nn.Linear(config.hidden, 3))
        self.register_buffer("mean", torch.zeros(SIGNS))
        self.register_buffer("deviation", torch.ones(SIGNS))

    def forward(self, logits: Tensor, silhouette: Tensor, seen: Tensor) -> Tensor:
        """Logits [N,S,S].

        Args:
            logits: [N,S,S] of a completion that does not know the silhouette.
            silhouette: [N,S,S] in 0..1.
            seen: [N,SIGNS], ``signs`` of both.
        """
        own, other, bias = self.layers((seen - self.mean) / self.deviation)[..., None, None].unbind(dim=1)
        sure = silhouette.clamp(_SURE, 1 - _SURE).logit()
        result: Tensor = softplus(own) * logits.clamp(-_MOST, _MOST) + softplus(other) * sure + bias
        return result


def expected_iou(probability: Tensor, estimate: Estimate) -> Tensor:
    """The IoU with the true whole mask that is to be expected of stage 5's, [N] in 0..1.

    By logistic regression on the logits of what the probability says of itself (``own_iou``) and of what the estimate
    expects.

    Args:
        probability: [N,S,S] in 0..1, as composed.
        estimate: that was weighed in.
    """
    assert estimate.expected is not None
    one, own, known = EXPECTED
    return (one + own * _logit(own_iou(probability)) + known * _logit(estimate.expected)).sigmoid()


def own_iou(probability: Tensor) -> Tensor:
    """The IoU [N] of the mask of all pixels from one half on with the true one, were pixels right by their chance."""
    inside = probability > 0.5
    shared = (probability * inside).sum(dim=(1, 2))
    return shared / (inside.sum(dim=(1, 2)) + (probability * ~inside).sum(dim=(1, 2))).clamp(min=1e-6)


EXPECTED = (-0.42, 0.658, 0.488)
"""For 1 and the two logits; by benchmarks/calibration.py."""


def _logit(share: Tensor) -> Tensor:
    return share.clamp(1e-3, 0.999).logit()


def signs(logits: Tensor, estimate: Estimate, crops: InstanceCrops) -> Tensor:
    """What tells how far an estimate can be trusted, [N,SIGNS].

    The logits of the IoU that the estimate expects and of its certain-pixel IoU; the IoU of both hidden parts; how
    unsure the completion and the estimate are, and how large their hidden parts, as shares of their whole masks.

    Args:
        logits: [N,S,S] of the completion.
        estimate: of N crops; ``expected`` is known.
        crops: the crops, of the same size.
    """
    assert estimate.expected is not None
    hidden = crops.occluder.minimum(1 - crops.visible)
    visible = crops.visible.sum(dim=(1, 2))

    def part(probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inside = (hidden * probability).sum(dim=(1, 2))
        whole = (visible + inside).clamp(min=1)
        return hidden * probability, inside / whole, (hidden * 4 * probability * (1 - probability)).sum((1, 2)) / whole

    first, first_size, first_doubt = part(logits.sigmoid())
    second, second_size, second_doubt = part(estimate.silhouette)
    union = first.maximum(second).sum(dim=(1, 2)).clamp(min=1)
    alike = first.minimum(second).sum(dim=(1, 2)) / union
    told = [_logit(estimate.expected), _logit(estimate.fit)]
    return torch.stack([*told, alike, first_doubt, second_doubt, first_size, second_size], dim=1).float()
