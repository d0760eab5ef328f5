"""ASN: the occlusion branch against hand-worked numbers, the coding and its places against brute force."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from rcnn_small import SHAPE, drawn_samples, random_rois, random_targets, small_rcnn
from torch import Tensor, nn

from shape3d_amodal.baselines.rcnn.asn import AsnConfig, AsnHead, Coding, occlusion_loss
from shape3d_amodal.errors import UsageError
from shape3d_amodal.segmentation.roi_heads import BoxOutput, Rois

LOGITS = torch.tensor([[0.0, 1.0986123], [0.0, 0.0], [0.0, 1.0986123]])
"""Occluded with probability 3/4, 1/2 and 3/4."""


def known_rois(count: int) -> Rois:
    """``random_rois`` with what a box head might say of them."""
    generator = torch.Generator().manual_seed(2)
    maps = {name: torch.randn(count, 8, 7, 7, generator=generator) for name in ("category", "occlusion")}
    return replace(random_rois(count), box=BoxOutput(torch.zeros(count, 16), maps))


def test_occluded_regions_weigh_8() -> None:
    """(8 * -log(3/4) + 1 * -log(1/2) + 1 * -log(1/4)) / (8 + 1 + 1)."""
    loss = occlusion_loss(LOGITS, torch.tensor([True, False, False]), 8)
    assert loss.item() == pytest.approx(0.4380900, abs=1e-6)


def test_occluded_is_more_than_5_percent() -> None:
    """5 % are not, 6 % are, the background is not: the same loss as above."""
    head = AsnConfig().box_head(SHAPE)
    output = BoxOutput(torch.zeros(3, 16), {"occluded": LOGITS})
    hidden = torch.tensor([0.06, 0.05, 0.0])
    losses = head.losses(output, hidden)
    assert list(losses) == ["occlusion"]
    assert losses["occlusion"].item() == pytest.approx(0.4380900, abs=1e-6)


def test_bound_and_weight_are_switches() -> None:
    """With a bound of 4 % the second is occluded too: (2 * -log(3/4) + 2 * -log(1/2) - log(1/4)) / 5."""
    head = AsnConfig(min_hidden=0.04, occluded_weight=2).box_head(SHAPE)
    output = BoxOutput(torch.zeros(3, 16), {"occluded": LOGITS})
    hidden = torch.tensor([0.06, 0.05, 0.0])
    assert head.losses(output, hidden)["occlusion"].item() == pytest.approx(0.6695905, abs=1e-6)


def test_no_regions_cost_nothing() -> None:
    logits = torch.zeros(0, 2, requires_grad=True)
    loss = occlusion_loss(logits, torch.zeros(0, dtype=torch.bool), 8)
    loss.backward()
    assert loss == 0
    assert logits.grad is not None


@pytest.mark.parametrize("place", [0, 1, 3, 4])
def test_features_are_taken_after_the_a_th_convolution(place: int) -> None:
    head = AsnConfig(extract=place).box_head(SHAPE)
    features = torch.randn(3, 8, 7, 7)
    output = head(features)
    for name in ("category", "occlusion"):
        expected = features
        for layer in getattr(head, name).convs[:place]:
            expected = layer(expected)
        torch.testing.assert_close(output.maps[name], expected)
    assert output.vector.shape == (3, SHAPE.box_width)
    assert output.maps["occluded"].shape == (3, 2)
    assert place == 0 or not torch.equal(output.maps["category"], output.maps["occlusion"])


class _Recorder(nn.Module):
    """In place of a coding: keeps what it is given."""

    def forward(self, known: Tensor, features: Tensor) -> Tensor:
        self.known, self.features = known, features
        return features + 1


@pytest.mark.parametrize("place", [0, 1, 3, 4])
def test_they_are_combined_after_the_b_th_convolution(place: int) -> None:
    head, rois, recorders = AsnConfig(fuse=place).mask_head(SHAPE), known_rois(2), nn.ModuleDict()
    for name in ("amodal", "visible"):
        recorders[name] = _Recorder()
    head.codings = recorders
    found = head(rois)
    for name in ("amodal", "visible"):
        branch, features = head.branches[name], rois.features
        for layer in branch.convs[:place]:
            features = layer(features)
        torch.testing.assert_close(recorders[name].features, features)
        assert rois.box is not None
        torch.testing.assert_close(recorders[name].known[:, :8], rois.box.maps["category"])
        torch.testing.assert_close(recorders[name].known[:, 8:], rois.box.maps["occlusion"])
        features = features + 1
        for layer in branch.convs[place:]:
            features = layer(features)
        all_masks = branch.predictor(branch.up(features))
        torch.testing.assert_close(found[name], all_masks[[0, 1], [0, 1]])


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_the_coding_keeps_shapes(variant: Literal["paper", "code"]) -> None:
    coding = Coding(6, 10, variant)
    assert coding(torch.randn(2, 12, 7, 7), torch.randn(2, 10, 14, 14)).shape == (2, 10, 14, 14)
    assert coding(torch.randn(0, 12, 7, 7), torch.randn(0, 10, 14, 14)).shape == (0, 10, 14, 14)


def test_the_layers_of_the_coding() -> None:
    """C = 256: a layer from m to n channels of k x k has m * n * k * k weights and n biases."""

    def layers(*sizes: tuple[int, int, int]) -> int:
        return sum(m * n * k * k + n for m, n, k in sizes)

    def count(variant: Literal["paper", "code"]) -> list[int]:
        coding = Coding(256, 256, variant)
        return [sum(p.numel() for p in part.parameters()) for part in (coding.extract, coding.combine)]

    same = (256, 256, 3)
    assert count("paper") == [
        layers((512, 256, 3), same, same),
        layers((512, 512, 3), (512, 512, 3), (512, 256, 3)),
    ]
    assert count("code") == [layers((512, 256, 3), (256, 256, 2), same), layers((512, 256, 3), same)]


@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize("options", [{}, {"coding": "code"}, {"fuse": 0}, {"extract": 3, "fuse": 4}])
def test_the_mask_losses_reach_everything(count: int, options: dict[str, object]) -> None:
    head = AsnConfig(**options).mask_head(SHAPE)
    losses = head.losses(known_rois(count), random_targets(count))
    assert list(losses) == ["mask_amodal", "mask_visible"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert count > 0 or all(loss == 0 for loss in losses.values())


def test_the_masks_train_the_box_head_as_far_as_their_features_come_from() -> None:
    config = AsnConfig(extract=2)
    box_head, mask_head = config.box_head(SHAPE), config.mask_head(SHAPE)
    rois = replace(random_rois(4), box=box_head(torch.randn(4, 8, 7, 7)))
    sum(mask_head.losses(rois, random_targets(4)).values()).backward()
    for tower in (box_head.category, box_head.occlusion):
        assert [layer[0].weight.grad is not None for layer in tower.convs] == [True, True, False, False]


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        ("mask_rcnn", {"fuse": 5}, r"options.fuse: expected 0 to 4 on mask_rcnn, got 5"),
        ("panet", {"extract": 0}, r"options.extract: expected 1 to 4 on panet, got 0"),
        ("panet", {"fuse": 0}, r"options.fuse: expected 1 to 3 on panet, got 0"),
        ("panet", {"fuse": 4}, r"options.fuse: expected 1 to 3 on panet, got 4"),
    ],
)
def test_places_that_there_are_not_are_refused(
    base: Literal["mask_rcnn", "panet"], options: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        AsnConfig(base=base, **options).mask_head(SHAPE)


@pytest.mark.parametrize("base", ["mask_rcnn", "panet"])
def test_at_inference_the_box_head_looks_at_the_refined_boxes(base: str) -> None:
    model = small_rcnn("asn", base=base).eval()
    seen: list[Rois] = []

    def record(_: nn.Module, given: tuple[Rois]) -> None:
        seen.append(given[0])

    model.mask_head.register_forward_pre_hook(record)
    images = model.normalized(drawn_samples(2, 3).images)
    with torch.no_grad():
        features = model.features(images)
        detections = model.detect(features, images.image_sizes)
        prediction = model.masks(features, detections)
        cuts = model.box_pooler(
            [features[name] for name in ("p2", "p3", "p4", "p5")], [one.pred_boxes for one in detections]
        )
        again = model.box_head(cuts)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0].boxes, torch.cat([one.pred_boxes.tensor for one in detections]))
    assert seen[0].box is not None
    torch.testing.assert_close(seen[0].box.maps, again.maps)
    assert prediction.visible is not None
    assert prediction.amodal.shape == prediction.visible.shape == (sum(map(len, detections)), 28, 28)


@pytest.mark.parametrize("options", [{"base": "panet"}, {"base": "panet", "extract": 2, "fuse": 3}, {"coding": "code"}])
def test_whole_networks_learn(options: dict[str, object]) -> None:
    model = small_rcnn("asn", **options).train()
    losses = model.losses(drawn_samples(3))
    assert {"occlusion", "mask_amodal", "mask_visible"} <= losses.keys()
    sum(losses.values()).backward()
    parts = (model.neck, model.box_head, model.mask_head)
    assert all(p.grad is not None and p.grad.isfinite().all() for part in parts for p in part.parameters())


def test_it_starts_from_the_branches_of_mask_rcnn() -> None:
    """Weights are taken over by name."""
    from shape3d_amodal.baselines.rcnn.mask_rcnn import MaskRcnnHead

    names = AsnConfig().mask_head(SHAPE).state_dict().keys()
    assert MaskRcnnHead(SHAPE, ("amodal", "visible")).state_dict().keys() <= names


def test_one_convolution_leaves_room_for_the_coding() -> None:
    head = AsnConfig().mask_head(replace(SHAPE, mask_convs=1))
    assert isinstance(head, AsnHead)
    assert head(known_rois(2))["amodal"].shape == (2, 28, 28)
