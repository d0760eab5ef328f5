"""IMLE: the nearest choice in an analytic case, where candidates come from, and the multimodal track."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rcnn_small import CATEGORIES, SHAPE, SIZE, drawn_sample, random_rois, random_targets, small_rcnn
from scoring import evaluate_multimodal

from shape3d_amodal import masks
from shape3d_amodal.baselines.rcnn.imle import ImleConfig, ImleHead, nearest
from shape3d_amodal.methods.rcnn import RcnnMethod
from shape3d_amodal.segmentation.detector import Detector
from shape3d_amodal.segmentation.layers import HeadShape
from shape3d_amodal.segmentation.roi_heads import Rois, RoiTargets
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category


def head(**options: object) -> ImleHead:
    torch.manual_seed(0)
    made = ImleConfig(**options).mask_head(SHAPE)
    assert isinstance(made, ImleHead)
    return made


def test_the_nearest_candidate_of_each_region_is_taken() -> None:
    candidates = torch.arange(12.0).reshape(2, 3, 2)
    distances = torch.tensor([[3.0, 1.0, 2.0], [0.5, 4.0, 0.7]])
    assert nearest(candidates, distances).tolist() == [[2.0, 3.0], [6.0, 7.0]]


class LevelHead(ImleHead):
    """Every pixel's logit is the code times a scale."""

    def __init__(self, config: ImleConfig) -> None:
        super().__init__(SHAPE, config)
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def amodal(self, rois: Rois, codes: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return (self.scale * codes[:, :1, None]).expand(-1, 28, 28)

    def draw(self, targets: RoiTargets) -> torch.Tensor:  # noqa: ARG002
        return torch.tensor([[[-2.0], [0.5], [1.0]], [[-1.0], [-0.2], [3.0]]])


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        # The first mask is full: logit 2 * 1.0 is nearest. The second is empty: logit 2 * -1.0 is nearest.
        ("cross_entropy", math.log1p(math.exp(-2))),
        ("squared", (1 / (1 + math.exp(2))) ** 2),
    ],
)
def test_only_the_nearest_mask_is_pulled(distance: str, expected: float) -> None:
    made = LevelHead(ImleConfig(code=1, candidates=3, distance=distance))
    targets = random_targets(2)
    amodal = torch.stack([torch.ones(28, 28), torch.zeros(28, 28)])
    loss = made.losses(random_rois(2), replace(targets, amodal=amodal))["mask_amodal"]
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert made.scale.grad is not None
    assert made.scale.grad < 0  # both are surer with a larger scale; that of the far codes -2 and 3 would say otherwise


def test_the_code_is_seen_at_every_position_beside_the_features() -> None:
    made, rois = head(code=2), random_rois(2)
    seen = []
    made.branches["amodal"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    made.amodal(rois, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert seen[0].shape == (2, SHAPE.channels + 2, 14, 14)
    assert torch.equal(seen[0][:, : SHAPE.channels], rois.features)
    assert (seen[0][1, -2] == 3).all() and (seen[0][1, -1] == 4).all()


def test_each_region_has_candidates_of_its_own() -> None:
    made, targets = head(candidates=3, code=4), random_targets(5)
    drawn = made.draw(targets)
    assert drawn.shape == (5, 3, 4)
    assert len(drawn.unique(dim=0)) == 5
    assert not torch.equal(drawn, made.draw(targets))


def test_candidates_of_an_object_may_stay_for_some_steps() -> None:
    made = head(candidates=3, code=4, keep=2)
    targets = replace(random_targets(4), annotation=torch.tensor([7, 9, 7, -3]))
    first = made.draw(targets)
    assert torch.equal(first[0], first[2])
    assert len(first.unique(dim=0)) == 3
    drawn = []
    for _ in range(4):
        drawn.append(made.draw(targets))
        made.losses(random_rois(4), targets)
    assert torch.equal(drawn[0], first)
    assert torch.equal(drawn[1], first)
    assert not (drawn[2] == first).any()
    assert torch.equal(drawn[3], drawn[2])
    assert made.draw(random_targets(0)).shape == (0, 3, 4)


def test_kept_candidates_are_those_of_a_training_that_went_on() -> None:
    made, resumed, targets = head(keep=1), head(keep=1), random_targets(2)
    made.losses(random_rois(2), targets)
    resumed.load_state_dict(made.state_dict())
    assert torch.equal(made.draw(targets), resumed.draw(targets))


def test_several_masks_a_region_and_their_mean() -> None:
    made = head(samples=4).eval()
    rois = random_rois(3)
    prediction = made.predict(rois)
    assert prediction.samples is not None and prediction.visible is not None
    assert prediction.samples.shape == (3, 4, 28, 28)
    assert torch.allclose(prediction.amodal, prediction.samples.mean(dim=1))
    assert torch.equal(prediction.samples[:, 0], made(rois)["amodal"].sigmoid())
    assert (prediction.samples[:, 0] != prediction.samples[:, 1]).any()
    again = head(samples=4).eval().predict(rois)
    assert again.samples is not None
    assert torch.equal(prediction.samples, again.samples)
    assert not torch.equal(head(samples=4, seed=1).codes, made.codes)


def test_of_two_equally_likely_shapes_both_are_found() -> None:
    """Regions look the same, but half of the objects are short and half are long behind the occluder."""
    shape = HeadShape(classes=1, channels=2, mask_channels=8, mask_convs=4)
    torch.manual_seed(0)
    made = ImleConfig(code=2, candidates=6, samples=12).mask_head(shape)
    visible, occluder, short, long = torch.zeros(4, 28, 28)
    occluder[:, 10:] = 1
    for mask, width in ((visible, 10), (short, 14), (long, 18)):
        mask[8:20, 2:width] = 1
    category = torch.zeros(4, dtype=torch.int64)
    features = torch.nn.functional.avg_pool2d(torch.stack([visible, occluder]), 2).repeat(4, 1, 1, 1)
    rois = Rois(features, category, torch.zeros(4, 4))
    seen, hiding = visible.expand(4, -1, -1), occluder.expand(4, -1, -1)
    targets = RoiTargets(torch.stack([short, long] * 2), seen, hiding, torch.zeros(4), category, torch.arange(4))
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        made.losses(rois, targets)["mask_amodal"].backward()
        optimizer.step()
    with torch.no_grad():
        samples = made.predict(rois).samples
    assert samples is not None
    found = samples[0] > 0.5
    ious = torch.stack(
        [(found & true).sum(dim=(1, 2)) / (found | true).sum(dim=(1, 2)) for true in (short > 0, long > 0)]
    )
    assert (ious.amax(dim=1) > 0.95).all()


def test_gradients_reach_everything_and_of_nothing_are_zero() -> None:
    made = head(candidates=2)
    sum(made.losses(random_rois(3), random_targets(3)).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    losses = made.losses(random_rois(0), random_targets(0))
    assert losses.keys() == {"mask_visible", "mask_amodal"} and sum(losses.values()) == 0
    assert made.eval().predict(random_rois(0)).samples.shape == (0, 10, 28, 28)


def test_samples_take_part_in_the_multimodal_track() -> None:
    drawn, targets = drawn_sample(2)
    instances = tuple(
        AmodalInstance(
            id=i + 1,
            category_id=i + 1,
            visible=masks.encode(targets.visible[i].numpy()),
            amodal=masks.encode(targets.amodal[i].numpy()),
        )
        for i in range(2)
    )
    record = AmodalImage(id=1, file_name="a.png", width=SIZE, height=SIZE, instances=instances)
    categories = tuple(Category(i + 1, name) for i, name in enumerate(CATEGORIES))
    detector = Detector(small_rcnn("imle", samples=3))
    names = {one.id: one.name for one in categories}
    image = drawn.permute(1, 2, 0).numpy()
    results = RcnnMethod(detector, names, background=False, samples=True).complete(image, record)
    assert [one.annotation_id for one in results] == [1, 1, 1, 2, 2, 2]
    score = evaluate_multimodal(AmodalDataset(images=(record,), categories=categories), results).score
    assert score.counts["samples"] == 6
    values = np.array([score[name] for name in ("sample_miou", "best_miou", "diversity")])
    assert (values >= 0).all() and values[0] <= values[1]
    assert len(RcnnMethod(detector, names).complete(image, record)) == 2
