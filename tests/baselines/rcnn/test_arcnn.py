"""ARCNN and ARCNN-add: the stitching against sums worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from rcnn_small import SHAPE, random_rois, random_targets
from torch import Tensor, nn

from shape3d_amodal.baselines.rcnn.arcnn import ArcnnAddHead, ArcnnHead
from shape3d_amodal.segmentation.roi_heads import Rois, RoiTargets


class _Fixed(nn.Module):
    """Mask c has the logit ``values[c]`` everywhere."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, features: Tensor) -> Tensor:
        return self.values.view(1, -1, 1, 1).expand(len(features), -1, 28, 28)


def _with_parts(head: ArcnnHead | ArcnnAddHead) -> ArcnnHead | ArcnnAddHead:
    head.branches = nn.ModuleDict({"visible": _Fixed(1, 2, 3), "occluded": _Fixed(0.5, -4, 1)})
    return head


def _of_category(category: int) -> Rois:
    rois = random_rois(1)
    return Rois(rois.features, torch.tensor([category]), rois.boxes)


@pytest.mark.parametrize(("category", "amodal"), [(0, 1.5), (1, -2.0), (2, 4.0)])
def test_add_is_the_sum_of_the_own_category(category: int, amodal: float) -> None:
    masks = _with_parts(ArcnnAddHead(SHAPE))(_of_category(category))
    torch.testing.assert_close(masks["amodal"], torch.full((1, 28, 28), amodal))


@pytest.mark.parametrize(("category", "amodal"), [(0, 1.5), (1, -2.0), (2, 4.0)])
def test_stitching_starts_as_that_sum(category: int, amodal: float) -> None:
    masks = _with_parts(ArcnnHead(SHAPE))(_of_category(category))
    torch.testing.assert_close(masks["amodal"], torch.full((1, 28, 28), amodal))


def test_stitching_is_equation_1() -> None:
    """AM_T = sum over i of VW[T,i] VM_i + OW[T,i] OM_i; for T = 1: 1*1 + 0*2 - 1*3 + 2*0.5 + 0.5*(-4) + 3*1 = 0."""
    head = ArcnnHead(SHAPE)
    visible_weights = torch.tensor([[1.0, 1, 1], [1, 0, -1], [0, 0, 0]])
    occluded_weights = torch.tensor([[0.0, 0, 0], [2, 0.5, 3], [1, 1, 1]])
    with torch.no_grad():
        head.stitching.weight.copy_(torch.cat([visible_weights, occluded_weights], dim=1)[:, :, None, None])
    _with_parts(head)
    found = [head(_of_category(category))["amodal"][0, 3, 5].item() for category in range(3)]
    assert found == pytest.approx([6.0, 0.0, -2.5])
    torch.testing.assert_close(head.weights(), (visible_weights, occluded_weights))


def test_the_three_losses() -> None:
    """Half of the box is the object, a quarter is visible and so a quarter hidden; logits are 2, -4 and their sum."""
    amodal, visible = torch.zeros(1, 28, 28), torch.zeros(1, 28, 28)
    amodal[:, :14], visible[:, :7] = 1, 1
    blank = torch.zeros(1)
    targets = RoiTargets(amodal, visible, torch.zeros_like(amodal), blank, blank.long(), blank.long())
    losses = _with_parts(ArcnnAddHead(SHAPE)).losses(_of_category(1), targets)

    def cross_entropy(logit: float, share: float) -> float:
        return share * math.log1p(math.exp(-logit)) + (1 - share) * math.log1p(math.exp(logit))

    assert losses["mask_amodal"].item() == pytest.approx(cross_entropy(-2, 0.5), abs=1e-6)  # 1.126928
    assert losses["mask_visible"].item() == pytest.approx(cross_entropy(2, 0.25), abs=1e-6)  # 1.626928
    assert losses["mask_occluded"].item() == pytest.approx(cross_entropy(-4, 0.25), abs=1e-6)  # 1.018150


@pytest.mark.parametrize("kind", [ArcnnHead, ArcnnAddHead])
@pytest.mark.parametrize("count", [0, 5])
def test_the_losses_reach_everything(kind: type[ArcnnHead | ArcnnAddHead], count: int) -> None:
    head = kind(SHAPE)
    losses = head.losses(random_rois(count), random_targets(count))
    assert sorted(losses) == ["mask_amodal", "mask_occluded", "mask_visible"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert count > 0 or all(loss == 0 for loss in losses.values())


@pytest.mark.parametrize("kind", [ArcnnHead, ArcnnAddHead])
def test_it_predicts_both_masks(kind: type[ArcnnHead | ArcnnAddHead]) -> None:
    prediction = kind(SHAPE).predict(random_rois(4))
    assert prediction.visible is not None
    assert prediction.amodal.shape == prediction.visible.shape == (4, 28, 28)
