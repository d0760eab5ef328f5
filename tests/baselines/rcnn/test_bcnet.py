"""BCNet: the relation against a loop over positions, the boundary of a square, and its four losses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from rcnn_small import SHAPE, random_rois, random_targets

from shape3d_amodal.baselines.rcnn.bcnet import BcnetConfig, BcnetHead, NonLocal, boundary
from shape3d_amodal.segmentation.layers import HeadShape

NAMES = {"mask", "occluder", "boundary", "occluder_boundary"}


def head(shape: HeadShape = SHAPE, **options: object) -> BcnetHead:
    torch.manual_seed(0)
    made = BcnetConfig(**options).mask_head(shape)
    assert isinstance(made, BcnetHead)
    return made


def test_the_relation_is_that_of_a_loop_over_all_pairs_of_positions() -> None:
    torch.manual_seed(1)
    layer, x = NonLocal(4).eval(), torch.randn(2, 4, 3, 2)
    layer.norm.running_mean.uniform_(), layer.norm.running_var.uniform_(0.5, 2)
    query, key, value, output = (
        one.weight[:, :, 0, 0].detach() for one in (layer.query, layer.key, layer.value, layer.output)
    )
    expected = x.clone()
    for region in range(2):
        places = x[region].flatten(1).T  # [6,4]
        for i in range(6):
            likeness = [math.exp((query @ places[i]) @ (key @ places[j]) / 2) for j in range(6)]  # sqrt(4) = 2
            seen = sum(weight / sum(likeness) * (value @ places[j]) for j, weight in enumerate(likeness))
            scaled = (output @ seen - layer.norm.running_mean) / (layer.norm.running_var + 1e-4).sqrt()
            expected[region, :, i // 2, i % 2] += scaled
    with torch.no_grad():
        assert torch.allclose(layer(x), expected, atol=1e-5)


def test_the_boundary_of_a_square_is_a_line_inside_and_one_outside() -> None:
    mask = torch.zeros(1, 28, 28)
    mask[0, 10:15, 10:15] = 1
    line = boundary(mask)[0]
    # 4 x 5 pixels are dilated, and of the 25 pixels the 3 x 3 inner ones are left by the erosion.
    assert line.sum() == 20 + 25 - 9
    assert line[9, 10:15].all() and line[10, 10:15].all() and not line[11:14, 11:14].any()
    assert not line[9, 9]  # four neighbours, no corners


def test_the_border_of_the_region_is_no_boundary() -> None:
    assert boundary(torch.ones(2, 28, 28)).sum() == 0
    half = torch.zeros(1, 28, 28)
    half[0, :14] = 1
    assert boundary(half)[0].sum() == 2 * 28
    assert boundary(half)[0, 13:15].all()


@pytest.mark.parametrize("channels", [8, 12])
@pytest.mark.parametrize("each_category", [False, True])
def test_four_maps_a_region(channels: int, each_category: bool) -> None:
    shape = replace(SHAPE, channels=channels)
    made = head(shape, each_category=each_category)
    assert made.occludee.mask[1].out_channels == (3 if each_category else 1)
    logits = made(random_rois(4, shape))
    assert logits.keys() == NAMES
    assert all(one.shape == (4, 28, 28) for one in logits.values())


def flat(made: BcnetHead, values: dict[str, float]) -> BcnetHead:
    """``made`` with logits that are the same everywhere."""
    parts = {
        "mask": made.occludee.mask,
        "boundary": made.occludee.boundary,
        "occluder": made.occluder.mask,
        "occluder_boundary": made.occluder.boundary,
    }
    for name, part in parts.items():
        torch.nn.init.zeros_(part[1].weight)
        torch.nn.init.constant_(part[1].bias, values[name])
    return made


def test_losses_are_weighted_and_the_occluders_see_regions_with_an_occluder_alone() -> None:
    logit = math.log(3)  # probability 3/4
    made = flat(head(), {"mask": logit, "boundary": 0.0, "occluder": logit, "occluder_boundary": 0.0})
    targets = random_targets(2)
    amodal, occluder = torch.zeros(2, 28, 28), torch.zeros(2, 28, 28)
    amodal[0] = 1  # the second region's mask is empty
    occluder[1, :14] = 1  # only the second region has an occluder
    targets = replace(targets, amodal=amodal, visible=amodal, occluder=occluder)
    losses = made.losses(random_rois(2), targets)
    half = (math.log(4 / 3) + math.log(4)) / 2
    assert losses["mask"].item() == pytest.approx(half, abs=1e-6)
    assert losses["occluder"].item() == pytest.approx(0.25 * half, abs=1e-6)
    assert losses["boundary"].item() == pytest.approx(0.5 * math.log(2), abs=1e-6)
    assert losses["occluder_boundary"].item() == pytest.approx(0.5 * math.log(2), abs=1e-6)
    nobody = made.losses(random_rois(2), replace(targets, occluder=torch.zeros(2, 28, 28)))
    assert nobody["occluder"] == 0 and nobody["occluder_boundary"] == 0


def test_amodal_masks_are_learned_unless_visible_ones_are_wanted() -> None:
    targets = random_targets(2)
    targets = replace(targets, amodal=torch.ones(2, 28, 28), visible=torch.zeros(2, 28, 28))
    values = {"mask": math.log(3), "boundary": 0.0, "occluder": 0.0, "occluder_boundary": 0.0}
    for masks, expected in (("amodal", math.log(4 / 3)), ("visible", math.log(4))):
        made = flat(head(masks=masks), values)
        assert made.losses(random_rois(2), targets)["mask"].item() == pytest.approx(expected, abs=1e-6)
        prediction = made.eval().predict(random_rois(2))
        assert torch.allclose(prediction.amodal, torch.tensor(0.75))
        assert (prediction.visible is None) == (masks == "amodal")


def test_the_second_layer_sees_what_the_first_one_knows() -> None:
    made = head().eval()
    rois = random_rois(2)
    before = made(rois)["mask"]
    with torch.no_grad():
        made.occluder.convs[-1][0].bias += 1
    assert not torch.equal(made(rois)["mask"], before)


def test_gradients_reach_everything_and_of_nothing_are_zero() -> None:
    made = head()
    sum(made.losses(random_rois(3), random_targets(3)).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    statistics = made.occluder.relation.norm.running_var.clone()
    losses = made.losses(random_rois(0), random_targets(0))
    assert losses.keys() == NAMES and sum(losses.values()) == 0
    assert torch.equal(made.occluder.relation.norm.running_var, statistics)
