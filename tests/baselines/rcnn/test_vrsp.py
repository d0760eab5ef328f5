"""VRSP: its passes, each loss term, the correction of scores, and where its shapes come from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rcnn_small import CATEGORIES, SHAPE, random_rois, random_targets

from shape3d_amodal.baselines.rcnn.vrsp import (
    VrspConfig,
    VrspHead,
    class_factor,
    iou,
    matching_loss,
    shape_factor,
)
from shape3d_amodal.baselines.rcnn.vrsp_shapes import ShapeMemory, ShapeMemoryConfig, ShapesConfig
from shape3d_amodal.config import dump_config
from shape3d_amodal.errors import UsageError, WeightsError
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.segmentation.layers import mask_loss

MEMORY = ShapeMemoryConfig(channels=2, codes=6)
LOSSES = {
    "coarse_amodal", "coarse_visible", "refined_amodal", "refined_visible",
    "taught_amodal", "taught_visible", "matching", "visible_class",
}  # fmt: skip


def head(**options: object) -> VrspHead:
    torch.manual_seed(0)
    made = VrspConfig(**{"memory": MEMORY, "neighbours": 3, **options}).mask_head(SHAPE)
    assert isinstance(made, VrspHead)
    if made.shapes is not None:
        made.shapes.codebook.normal_().abs_()
        made.shapes.known.fill_(6)
    return made


def test_the_corrections_of_scores_are_those_of_the_paper() -> None:
    assert class_factor(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0.6, 0.8, 1.0])
    distances = torch.tensor([0.0, 0.25, 1.0])
    assert shape_factor(distances, 2.0).tolist() == pytest.approx([1.0, math.log(1.75) / math.log(2), 0.0])
    assert shape_factor(distances, 3.0).tolist() == pytest.approx(
        [1.0, math.log(2.75) / math.log(3), math.log(2) / math.log(3)]
    )


def test_iou_of_empty_masks_is_zero() -> None:
    found, true = torch.zeros(3, 28, 28, dtype=torch.bool), torch.zeros(3, 28, 28, dtype=torch.bool)
    found[0, :10], true[0, 5:20] = True, True
    found[1, :10] = True
    assert iou(found, true).tolist() == pytest.approx([5 / 20, 0, 0])


def test_a_region_counts_as_much_as_its_coarse_mask_was_right() -> None:
    logits, target = torch.full((2, 28, 28), math.log(3)), torch.stack([torch.ones(28, 28), torch.zeros(28, 28)])
    loss = mask_loss(logits, target, torch.tensor([0.5, 0.25]))
    assert loss.item() == pytest.approx((0.5 * math.log(4 / 3) + 0.25 * math.log(4)) / 2)


def test_features_are_matched_by_their_angle_and_the_teacher_stands_still() -> None:
    own = torch.tensor([[1.0, 0.0], [3.0, 4.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 2.0], [4.0, 3.0]], requires_grad=True)
    loss = matching_loss([own, own], [teacher, own], [0.5, 7.0])
    assert loss.item() == pytest.approx(0.5 * (1 - (0 + 24 / 25) / 2))
    loss.backward()
    assert own.grad is not None and teacher.grad is None


def test_each_pass_sees_what_the_one_before_it_found() -> None:
    made, rois = head(), random_rois(4)
    coarse = made.coarse(rois)
    x, row = rois.features, torch.arange(4)
    assert torch.equal(coarse.amodal, made.branches["amodal"](x)[row, rois.category])
    assert torch.equal(coarse.visible, made.branches["visible"](x)[row, rois.category])
    pooled = coarse.amodal.reshape(4, 14, 2, 14, 2).mean(dim=(2, 4))
    visible = made.branches["visible"](x * (1 / (1 + (-pooled).exp()))[:, None])[row, rois.category]
    pooled = visible.reshape(4, 14, 2, 14, 2).mean(dim=(2, 4))
    priors = made.priors(coarse.amodal, rois.category)
    fused = made.fuse(torch.cat([x * pooled.sigmoid()[:, None], priors], dim=1))
    logits = made(rois)
    assert torch.allclose(logits["visible"], visible, atol=1e-6)
    assert torch.allclose(logits["amodal"], made.branches["amodal"](fused)[row, rois.category], atol=1e-6)
    assert torch.equal(logits["coarse_amodal"], coarse.amodal)


def test_attention_is_soft_or_binary() -> None:
    logits = torch.zeros(1, 28, 28)
    logits[0, 0, :2] = 4.0
    assert head().attention(logits)[0, 0, 0, 0].item() == pytest.approx(1 / (1 + math.exp(-2)))
    binary = head(attention="binary").attention(logits)
    assert binary.shape == (1, 1, 14, 14) and binary.sum() == 1 and binary[0, 0, 0, 0] == 1


def test_priors_are_the_nearest_known_shapes_at_the_size_of_the_features() -> None:
    made = head()
    assert made.shapes is not None
    logits, category = torch.randn(2, 28, 28), torch.tensor([1, 2])
    priors = made.priors(logits, category)
    assert priors.shape == (2, 3, 14, 14)
    code = made.shapes.encode(logits.sigmoid())[1]
    order = ((made.shapes.codebook[2] - code) ** 2).sum(dim=1).argsort()
    shape = made.shapes.decode(made.shapes.codebook[2][order[1]])
    assert torch.allclose(priors[1, 1], shape.reshape(14, 2, 14, 2).mean(dim=(1, 3)), atol=1e-6)
    assert head(neighbours=0).priors(logits, category).shape == (2, 0, 14, 14)


def test_losses_are_those_of_the_three_passes() -> None:
    made, rois, targets = head(), random_rois(3), random_targets(3)
    losses = made.losses(rois, targets)
    logits = made(rois)

    def entropy(name: str, target: torch.Tensor) -> torch.Tensor:
        right = torch.where(target > 0, logits[name].sigmoid(), 1 - logits[name].sigmoid())
        return -right.log().mean(dim=(1, 2))

    assert losses.keys() == LOSSES
    for name in ("amodal", "visible"):
        target = getattr(targets, name)
        assert torch.allclose(losses[f"coarse_{name}"], entropy(f"coarse_{name}", target).mean(), atol=1e-5)
        found = logits[f"coarse_{name}"] > 0
        shared, joined = (found & (target > 0)).sum(dim=(1, 2)), (found | (target > 0)).sum(dim=(1, 2))
        expected = (entropy(name, target) * shared / joined).mean()
        assert torch.allclose(losses[f"refined_{name}"], expected, atol=1e-5)
    coarse = made.coarse(rois)
    taught = made.taught(rois, targets, made.priors(coarse.amodal, rois.category))
    right = torch.where(targets.amodal > 0, taught.amodal.sigmoid(), 1 - taught.amodal.sigmoid())
    assert torch.allclose(losses["taught_amodal"], -right.log().mean(), atol=1e-5)
    cosines = [
        ((a.flatten(1) * b.flatten(1)).sum(dim=1) / (a.flatten(1).norm(dim=1) * b.flatten(1).norm(dim=1))).mean()
        for a, b in zip(coarse.features, taught.features, strict=True)
    ]
    expected = sum(w * (1 - c) for w, c in zip((0.01, 0.05, 0.01, 0.05), cosines, strict=True))
    assert torch.allclose(losses["matching"], expected, atol=1e-6)
    assert [one.shape[2] for one in coarse.features] == [14, 28, 14, 28]


def test_the_teacher_sees_the_true_masks() -> None:
    made, rois, targets = head(neighbours=0, rescore_shape=None), random_rois(2), random_targets(2)
    amodal, visible = torch.ones(2, 28, 28), torch.zeros(2, 28, 28)
    amodal[:, :, 14:] = 0
    taught = made.taught(rois, replace(targets, amodal=amodal, visible=visible), made.priors(amodal, rois.category))
    left = rois.features.clone()
    left[:, :, :, 7:] = 0
    row = torch.arange(2)
    assert torch.allclose(taught.visible, made.branches["visible"](left)[row, rois.category], atol=1e-6)
    nothing = made.fuse(torch.zeros_like(left))
    assert torch.allclose(taught.amodal, made.branches["amodal"](nothing)[row, rois.category], atol=1e-6)


def test_the_class_loss_weights_predicted_regions_by_their_iou_and_true_ones_by_a_tenth() -> None:
    made, rois, targets = head(), random_rois(2), random_targets(2)
    torch.nn.init.zeros_(made.classify[-1].weight)
    made.classify[-1].bias.data = torch.tensor([1.0, 0.0, -1.0])
    true = torch.zeros(2, 28, 28)
    true[:, :14] = 1
    logits = torch.full((2, 28, 28), -1.0)
    logits[0, :7] = 1  # half of the visible mask, nothing beside it
    targets = replace(targets, visible=true, category=torch.tensor([0, 2]))
    total = math.log(math.e + 1 + 1 / math.e)
    entropies = [total - 1, total + 1]
    expected = (0.5 * entropies[0] + 0 * entropies[1] + 0.1 * entropies[0] + 0.1 * entropies[1]) / 4
    assert made.class_loss(rois, logits, targets).item() == pytest.approx(expected, abs=1e-6)


def test_the_class_is_read_from_features_under_each_region() -> None:
    """Features times the soft predicted mask and times the true one; a logit of 0 is no part of the region."""
    made, rois, targets = head(), random_rois(2), random_targets(2)
    logits = torch.randn(2, 28, 28, generator=torch.Generator().manual_seed(3))
    logits[:, :14] = 0.0
    loss = made.class_loss(rois, logits, targets)
    soft = 1 / (1 + (-logits.reshape(2, 14, 2, 14, 2).mean(dim=(2, 4))).exp())
    true = targets.visible.reshape(2, 14, 2, 14, 2).mean(dim=(2, 4))
    expected = 0.0
    for i in range(2):
        found, right = logits[i] > 0, targets.visible[i] > 0
        trust = float((found & right).sum() / (found | right).sum())
        for mask, weight in ((soft[i], trust), (true[i], 0.1)):
            chances = made.classify((rois.features[i] * mask)[None]).detach().exp()[0]
            expected += weight * -float((chances[targets.category[i]] / chances.sum()).log()) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_class_loss_moves_no_mask() -> None:
    made, rois, targets = head(), random_rois(2), random_targets(2)
    made.losses(rois, targets)["visible_class"].backward()
    assert all(one.grad is None or not one.grad.any() for one in made.branches.parameters())
    assert any(one.grad.any() for one in made.classify.parameters())


def test_scores_fall_with_the_distance_to_known_shapes_and_with_doubt_of_the_class() -> None:
    made, rois = head().eval(), random_rois(2)
    assert made.shapes is not None
    refined = made(rois)
    masks = refined["amodal"] > 0
    known = made.shapes.decode(made.shapes.nearest(made.shapes.encode(masks.float()), rois.category, 1)[:, 0])
    distance = [float((masks[i] ^ (known[i] > 0.5)).float().mean()) for i in range(2)]
    shape = [math.log(2 - one) / math.log(2) for one in distance]
    pooled = refined["visible"].reshape(2, 14, 2, 14, 2).mean(dim=(2, 4))
    chances = made.classify(rois.features * pooled.sigmoid()[:, None]).softmax(dim=1)
    sure = [0.6 + 0.4 * float(chances[i, rois.category[i]]) for i in range(2)]

    def factors(**options: object) -> list[float]:
        made.config = replace(made.config, **options)
        factor = made.predict(rois).factor
        assert factor is not None
        return factor.tolist()

    assert factors() == pytest.approx([a * b for a, b in zip(shape, sure, strict=True)], abs=1e-5)
    assert factors(rescore_class=False) == pytest.approx(shape, abs=1e-5)
    assert factors(rescore_shape=None) == [1, 1]


def test_gradients_reach_everything_but_the_shapes_and_of_nothing_are_zero() -> None:
    made = head()
    sum(made.losses(random_rois(3), random_targets(3)).values()).backward()
    for name, parameter in made.named_parameters():
        assert (parameter.grad is None) == name.startswith("shapes."), name
    losses = made.losses(random_rois(0), random_targets(0))
    assert losses.keys() == LOSSES and sum(losses.values()) == 0
    nothing = made.eval().predict(random_rois(0))
    assert nothing.factor is not None and nothing.factor.shape == (0,)


def written(folder: Path, categories: tuple[str, ...] = CATEGORIES, memory: ShapeMemoryConfig = MEMORY) -> ShapeMemory:
    torch.manual_seed(3)
    trained = ShapeMemory(len(categories), memory)
    trained.codebook.normal_()
    trained.known.fill_(2)
    save_weights(folder, dump_config(ShapesConfig(categories=categories, memory=memory)), trained.state_dict())
    return trained


def test_a_training_begins_with_trained_shapes(tmp_path: Path) -> None:
    trained = written(tmp_path / "shapes")
    config = VrspConfig(memory=MEMORY, shapes=str(tmp_path / "shapes"))
    made = config.mask_head(SHAPE)
    config.start(made, CATEGORIES)
    assert isinstance(made, VrspHead) and made.shapes is not None
    for name, tensor in trained.state_dict().items():
        assert torch.equal(made.shapes.state_dict()[name], tensor)
    again = VrspConfig(memory=MEMORY)
    again.start(made, CATEGORIES)  # what is there already needs no folder


def test_shapes_that_are_missing_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    def start(categories: tuple[str, ...] = CATEGORIES, **options: object) -> None:
        config = VrspConfig(**{"memory": MEMORY, **options})
        config.start(config.mask_head(SHAPE), categories)

    folder = str(tmp_path / "shapes")
    with pytest.raises(UsageError, match=r"options\.shapes: expected a folder .* got none; train them first"):
        start()
    with pytest.raises(WeightsError, match="shapes"):
        start(shapes=folder)
    written(tmp_path / "shapes")
    with pytest.raises(
        UsageError, match=r"options\.shapes: .*expected the detector's categories .* got box, disc, bar"
    ):
        start(("disc", "box", "bar"), shapes=folder)
    with pytest.raises(UsageError, match=r"options\.memory: the shapes in .* have .*codes=6"):
        start(shapes=folder, memory=ShapeMemoryConfig(channels=2, codes=7))
    start(neighbours=0, rescore_shape=None)
