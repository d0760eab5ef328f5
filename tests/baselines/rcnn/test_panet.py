"""PANet: the path, the cuts and both fusions against brute force and hand-worked numbers; its switches."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from rcnn_small import SHAPE, random_rois, random_targets, small_rcnn
from torch import Tensor, nn
from torch.nn.functional import conv2d

from shape3d_amodal.baselines.rcnn.panet import (
    AllLevelsPooler,
    BottomUpPath,
    FullMask,
    LevelFusion,
    PanetBranch,
    PanetConfig,
)
from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.roi_heads import Rois

SIZES = {"p2": 16, "p3": 8, "p4": 4, "p5": 2, "p6": 1}


def random_levels(batch: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, 8, size, size, generator=generator) for name, size in SIZES.items()}


def cut_rois(count: int) -> Rois:
    """``random_rois`` as all four levels show them."""
    cuts = torch.randn(count, 4, SHAPE.channels, 14, 14, generator=torch.Generator().manual_seed(1))
    return replace(random_rois(count), features=cuts)


class _Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        return self.factor * features


def test_the_path_goes_up_level_by_level() -> None:
    path, levels = BottomUpPath(8, group_norm=False), random_levels()
    found = path(levels)
    assert {name: tuple(level.shape) for name, level in found.items()} == {
        name: (1, 8, size, size) for name, size in SIZES.items()
    }
    expected = levels["p2"]
    torch.testing.assert_close(found["p2"], expected)
    for step, name in enumerate(("p3", "p4", "p5")):
        down, fuse = path.down[step][0], path.fuse[step][0]
        down_sampled = conv2d(expected, down.weight, down.bias, stride=2, padding=1).clamp(min=0)
        expected = conv2d(levels[name] + down_sampled, fuse.weight, fuse.bias, padding=1).clamp(min=0)
        torch.testing.assert_close(found[name], expected)
    torch.testing.assert_close(found["p6"], expected[:, :, ::2, ::2])


def test_the_path_of_constant_levels() -> None:
    """Filters that take the middle pixel: every level becomes itself plus all below it, and nothing goes negative."""
    path = BottomUpPath(1, group_norm=False)
    with torch.no_grad():
        for layer in (*path.down, *path.fuse):
            layer[0].weight.zero_()[0, 0, 1, 1] = 1
    values = {"p2": 1.0, "p3": 2.0, "p4": -5.0, "p5": 3.0, "p6": 9.0}
    levels = {name: torch.full((1, 1, size, size), values[name]) for name, size in SIZES.items()}
    found = {name: level.unique().item() for name, level in path(levels).items()}
    assert found == {"p2": 1, "p3": 3, "p4": 0, "p5": 3, "p6": 3}  # -5 + 3 is cut off at 0


def test_every_region_is_cut_from_every_level() -> None:
    levels = [random_levels(2)[name] for name in ("p2", "p3", "p4", "p5")]
    boxes = [Boxes(torch.tensor([[3.0, 5, 30, 60], [0, 0, 64, 64]])), Boxes(torch.tensor([[10.0, 10, 20, 17]]))]
    cuts = AllLevelsPooler(7)(levels, boxes)
    assert cuts.shape == (3, 4, 8, 7, 7)
    for i, (level, stride) in enumerate(zip(levels, (4, 8, 16, 32), strict=True)):
        theirs = ROIPooler(7, scales=[1 / stride], sampling_ratio=2, pooler_type="ROIAlignV2")
        torch.testing.assert_close(cuts[:, i], theirs([level], boxes))


@pytest.mark.parametrize(("fusion", "expected"), [("max", [8.0, 6.0]), ("sum", [2.0, 3.0])])
def test_fusion_follows_a_layer_a_level(fusion: Literal["max", "sum"], expected: list[float]) -> None:
    cuts = torch.tensor([[1.0, 2.0, 3.5, 4.0], [-1.0, -2.0, -3.0, -1.0]])[:, :, None]
    layers = [_Times(factor) for factor in (1, 0, -2, 2)]  # 1, 0, -7, 8 and -1, 0, 6, -2
    assert LevelFusion(layers, fusion)(cuts)[:, 0].tolist() == expected


def test_the_full_mask_is_added_to_all_categories() -> None:
    branch = PanetConfig().mask_branch(SHAPE)
    cuts = cut_rois(2).features
    with torch.no_grad():
        branch.full.fc.weight.zero_()
        branch.full.fc.bias.zero_()
        alone = branch(cuts)
        branch.full.fc.bias.copy_(torch.arange(28.0 * 28))
        both = branch(cuts)
    assert alone.shape == (2, 3, 28, 28)
    added = torch.arange(28.0 * 28).view(28, 28).expand(2, 3, 28, 28)
    torch.testing.assert_close(both - alone, added, atol=1e-4, rtol=0)


def test_the_full_mask_goes_off_after_the_last_but_one_convolution() -> None:
    branch = PanetConfig().mask_branch(SHAPE)
    cuts = cut_rois(2).features
    first = torch.stack([layer(cuts[:, i]) for i, layer in enumerate(branch.convs[0].layers)]).amax(dim=0)
    third = branch.convs[2](branch.convs[1](first))
    full = branch.full.fc(branch.full.convs(third).flatten(1)).view(2, 1, 28, 28)
    expected = branch.predictor(branch.up(branch.last(third))) + full
    torch.testing.assert_close(branch(cuts), expected)


def test_every_pixel_of_the_full_mask_sees_the_whole_region() -> None:
    torch.manual_seed(0)
    full = FullMask(4, group_norm=False, relu=False)
    features = torch.randn(1, 4, 14, 14, requires_grad=True)
    full(features)[0, 0, 0, 0].backward()
    assert features.grad is not None
    assert (features.grad != 0).any(dim=1).all()


@pytest.mark.parametrize(("relu", "least"), [(False, -1.0), (True, 0.0)])
def test_a_relu_on_the_full_mask_is_a_switch(relu: bool, least: float) -> None:
    full = FullMask(4, group_norm=False, relu=relu)
    with torch.no_grad():
        full.fc.weight.zero_()
        full.fc.bias.fill_(-1)
    assert full(torch.randn(1, 4, 14, 14)).min() == least


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("group_norm", [False, True])
def test_the_losses_reach_everything(count: int, group_norm: bool) -> None:
    head = PanetConfig(masks="both", group_norm=group_norm).mask_head(SHAPE)
    losses = head.losses(cut_rois(count), random_targets(count))
    assert sorted(losses) == ["mask_amodal", "mask_visible"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert count > 0 or all(loss == 0 for loss in losses.values())


@pytest.mark.parametrize("masks", ["amodal", "visible", "both"])
def test_it_predicts_the_masks_that_are_asked_for(masks: str) -> None:
    prediction = PanetConfig(masks=masks).mask_head(SHAPE).predict(cut_rois(2))
    assert prediction.amodal.shape == (2, 28, 28)
    assert (prediction.visible is None) == (masks == "amodal")


@pytest.mark.parametrize("heavy", [True, False])
@pytest.mark.parametrize("count", [0, 2])
def test_class_and_box_come_from_all_cuts(heavy: bool, count: int) -> None:
    torch.manual_seed(0)
    head = PanetConfig(heavy_head=heavy).box_head(SHAPE)
    cuts = torch.randn(count, 4, SHAPE.channels, 7, 7, requires_grad=True)
    vector = head(cuts).vector
    assert vector.shape == (count, SHAPE.box_width)
    vector.sum().backward()
    assert cuts.grad is not None
    assert not count or (cuts.grad != 0).flatten(2).any(dim=2).all()


def test_the_heads_have_the_layers_of_the_paper() -> None:
    """Of C = 256 channels and fully connected layers of 1024, the rest as He et al. have them."""
    shape = replace(SHAPE, channels=256, mask_channels=256, box_width=1024)
    conv = 256 * 256 * 9 + 256

    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    full = conv + (256 * 128 * 9 + 128) + (128 * 14 * 14 * 28 * 28 + 28 * 28)
    ends = (256 * 256 * 4 + 256) + (256 * 3 + 3)
    with torch.device("meta"):
        assert count(PanetConfig().neck(shape)) == 6 * conv
        assert count(PanetConfig().box_head(shape)) == (4 + 3) * conv + 256 * 49 * 1024 + 1024
        light = 4 * (256 * 49 * 1024 + 1024) + 1024 * 1024 + 1024
        assert count(PanetConfig(heavy_head=False).box_head(shape)) == light
        assert count(PanetConfig().mask_branch(shape)) == (4 + 3) * conv + ends + full


def test_a_branch_of_one_convolution_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mask_convs: PANet needs at least 2, got 1"):
        PanetConfig().mask_head(replace(SHAPE, mask_convs=1))


def test_two_convolutions_are_enough() -> None:
    branch = PanetConfig().mask_branch(replace(SHAPE, mask_convs=2))
    assert isinstance(branch, PanetBranch)
    assert branch(cut_rois(1).features).shape == (1, 3, 28, 28)


def test_the_whole_network_looks_at_all_levels() -> None:
    model = small_rcnn("panet", group_norm=True, fusion="sum", heavy_head=False)
    features = model.features(model.normalized([torch.zeros(3, 96, 96, dtype=torch.uint8)]))
    assert sorted(features) == ["p2", "p3", "p4", "p5", "p6"]
    cuts = model.mask_pooler([features[name] for name in ("p2", "p3", "p4", "p5")], [Boxes(torch.zeros(0, 4))])
    assert cuts.shape == (0, 4, 32, 14, 14)
