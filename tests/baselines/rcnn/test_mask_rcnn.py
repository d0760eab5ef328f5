"""Mask R-CNN's head and the targets of all systems, with numbers from paper and pencil."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, Instances
from rcnn_small import SHAPE, drawn_sample, random_rois, random_targets

from shape3d_amodal.baselines.rcnn.mask_rcnn import MaskRcnnConfig, MaskRcnnHead
from shape3d_amodal.segmentation.layers import HeadShape, MaskBranch, mask_loss, of_category
from shape3d_amodal.segmentation.roi_heads import TwoLayerBoxHead
from shape3d_amodal.segmentation.samples import cut_masks, roi_targets

PUBLISHED = HeadShape(classes=7)


def constant_head(logit: float, names: tuple[str, ...] = ("amodal", "visible")) -> MaskRcnnHead:
    """A head that says ``logit`` of every pixel for category 1, and 9 for all others."""
    head = MaskRcnnHead(SHAPE, names)
    for branch in head.branches.values():
        torch.nn.init.zeros_(branch.predictor.weight)
        branch.predictor.bias.data = torch.tensor([9.0, logit, 9.0])
    return head


def test_a_branch_has_the_published_layers() -> None:
    branch = MaskBranch(PUBLISHED)
    shapes = [tuple(parameter.shape) for parameter in branch.parameters() if parameter.ndim == 4]
    assert shapes == [(256, 256, 3, 3)] * 4 + [(256, 256, 2, 2), (7, 256, 1, 1)]
    assert branch(torch.zeros(2, 256, 14, 14)).shape == (2, 7, 28, 28)
    box = TwoLayerBoxHead(PUBLISHED)
    assert [tuple(p.shape) for p in box.parameters() if p.ndim == 2] == [(1024, 256 * 49), (1024, 1024)]


def test_the_regions_own_category_is_taken() -> None:
    logits = torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, 28, 28)
    assert of_category(logits, torch.tensor([2, 0]))[:, 0, 0].tolist() == [2, 0]
    assert of_category(logits[:, 1:2], torch.tensor([2, 0]))[:, 0, 0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("logit", "inside", "loss"),
    [(0.0, 1.0, 0.693147), (2.0, 1.0, 0.126928), (2.0, 0.0, 2.126928), (2.0, 0.5, 1.126928)],
)
def test_the_loss_is_the_mean_cross_entropy(logit: float, inside: float, loss: float) -> None:
    target = torch.zeros(4, 28, 28)
    target[:, : int(28 * inside)] = 1
    assert mask_loss(torch.full((4, 28, 28), logit), target).item() == pytest.approx(loss, abs=1e-6)


def test_each_branch_learns_its_own_mask() -> None:
    rois, targets = random_rois(4), random_targets(4)
    rois.category.fill_(1)
    targets.amodal.fill_(1)
    targets.visible.fill_(0)
    losses = constant_head(2.0).losses(rois, targets)
    assert {name: round(loss.item(), 5) for name, loss in losses.items()} == {
        "mask_amodal": 0.12693,
        "mask_visible": 2.12693,
    }


@pytest.mark.parametrize(
    ("masks", "names"), [("amodal", {"amodal"}), ("visible", {"visible"}), ("both", {"amodal", "visible"})]
)
def test_which_masks_are_predicted(masks: str, names: set[str]) -> None:
    head = MaskRcnnConfig(masks=masks).mask_head(SHAPE)  # type: ignore[arg-type]
    rois = random_rois(5)
    assert {name: logits.shape for name, logits in head(rois).items()} == dict.fromkeys(names, (5, 28, 28))
    prediction = head.predict(rois)
    assert (prediction.visible is not None) == ("visible" in names)
    if masks == "visible":
        assert torch.equal(prediction.amodal, prediction.visible), (
            "without amodal masks the visible ones stand for them"
        )


def test_masks_are_cut_at_the_box() -> None:
    masks = torch.zeros(2, 40, 40, dtype=torch.bool)
    masks[1, 6:20, 6:34] = True  # the upper half of the box (6, 6, 34, 34)
    boxes = torch.tensor([[6.0, 6, 34, 34], [6, 6, 34, 20], [0, 20, 28, 48]])
    cut = cut_masks(masks, torch.tensor([1, 1, 1]), boxes, 28)
    assert cut[0, :14].eq(1).all() and cut[0, 14:].eq(0).all()
    assert cut[1].eq(1).all() and cut[2].eq(0).all()
    assert cut_masks(masks, torch.tensor([0]), boxes[:1], 28).sum() == 0
    assert cut_masks(masks[:0], torch.zeros(0, dtype=torch.int64), boxes[:0], 28).shape == (0, 28, 28)


def test_regions_get_the_masks_of_the_objects_that_they_were_matched_with() -> None:
    objects = [drawn_sample(2, 5, fully_hidden=True)[1], drawn_sample(0)[1], drawn_sample(3, 1)[1]]
    matched = [torch.tensor([1, 0]), None, torch.tensor([2])]
    regions = []
    for targets, index in zip(objects, matched, strict=True):
        one = Instances((96, 96), proposal_boxes=Boxes(targets.boxes if index is None else targets.boxes[index]))
        if index is not None:
            one.gt_index = index
        regions.append(one)
    found = roi_targets(regions, objects, 28)
    assert found.annotation.tolist() == [2, 1, 3] and found.category.tolist() == [1, 0, 2]
    assert found.amodal.eq(1).all(), "boxes are filled by the boxes that are drawn"
    assert found.hidden.tolist()[:2] == [0.0, 1.0]
    assert found.visible[0].eq(1).all() and found.visible[1].eq(0).all()
    assert found.occluded[0].eq(0).all() and found.occluded[1].eq(1).all()
    assert found.occluder[1].eq(1).all(), "the object in front of it fills its box"
