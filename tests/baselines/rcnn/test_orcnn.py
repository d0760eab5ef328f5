"""ORCNN: its invisible logits and its three losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from rcnn_small import SHAPE, random_rois, random_targets
from torch import Tensor, nn

from shape3d_amodal.baselines.rcnn.orcnn import OrcnnHead, invisible_logits
from shape3d_amodal.segmentation.roi_heads import RoiTargets


def test_invisible_logits() -> None:
    """Visible evidence counts against, its absence does not count for."""
    amodal = torch.tensor([[[2.0, -1.0], [0.5, 3.0]]])
    visible = torch.tensor([[[1.5, 2.0], [-4.0, 0.0]]])
    torch.testing.assert_close(invisible_logits(amodal, visible), torch.tensor([[[0.5, -3.0], [0.5, 3.0]]]))


class _Fixed(nn.Module):
    """The same logit everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, features: Tensor) -> Tensor:
        return torch.full((len(features), 3, 28, 28), self.value)


def test_the_three_losses() -> None:
    """Half of the box is the object, a quarter is visible; logits are 1 and 2, thus -1 for the invisible mask."""
    head = OrcnnHead(SHAPE)
    head.branches = nn.ModuleDict({"amodal": _Fixed(1.0), "visible": _Fixed(2.0)})
    amodal, visible = torch.zeros(2, 28, 28), torch.zeros(2, 28, 28)
    amodal[:, :14], visible[:, :7] = 1, 1
    blank = torch.zeros(2)
    targets = RoiTargets(amodal, visible, torch.zeros_like(amodal), blank, blank.long(), blank.long())
    losses = head.losses(random_rois(2), targets)

    def cross_entropy(logit: float, share: float) -> float:
        return share * math.log1p(math.exp(-logit)) + (1 - share) * math.log1p(math.exp(logit))

    assert losses["mask_amodal"].item() == pytest.approx(cross_entropy(1, 0.5), abs=1e-6)  # 0.813262
    assert losses["mask_visible"].item() == pytest.approx(cross_entropy(2, 0.25), abs=1e-6)  # 1.626928
    assert losses["mask_invisible"].item() == pytest.approx(cross_entropy(-1, 0.25), abs=1e-6)  # 0.563262


@pytest.mark.parametrize("count", [0, 5])
def test_the_losses_reach_everything(count: int) -> None:
    head = OrcnnHead(SHAPE)
    losses = head.losses(random_rois(count), random_targets(count))
    assert list(losses) == ["mask_amodal", "mask_visible", "mask_invisible"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert count > 0 or all(loss == 0 for loss in losses.values())


def test_it_predicts_both_masks() -> None:
    prediction = OrcnnHead(SHAPE).predict(random_rois(4))
    assert prediction.visible is not None
    assert prediction.amodal.shape == prediction.visible.shape == (4, 28, 28)


def test_it_starts_from_the_masks_of_mask_rcnn() -> None:
    """Weights are taken over by name."""
    from shape3d_amodal.baselines.rcnn.mask_rcnn import MaskRcnnHead

    assert OrcnnHead(SHAPE).state_dict().keys() == MaskRcnnHead(SHAPE, ("amodal", "visible")).state_dict().keys()
