from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from shape3d_amodal.refinement.criterion import RefinementLossConfig, refinement_losses, soft_iou
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops

S = 8
PLAIN = RefinementLossConfig(cross_entropy=1.0, edge=0.0, whole_iou=0.5, hidden_iou=0.25)
SURE = 50.0


def batch(visible: torch.Tensor, occluder: torch.Tensor, amodal: torch.Tensor) -> SupervisedCrops:
    n = len(visible)
    category, window = torch.zeros(n, dtype=torch.int64), torch.zeros(n, 4)
    return SupervisedCrops(InstanceCrops(torch.zeros(n, 3, S, S), visible, occluder, category, window), amodal)


def columns(*which: int) -> torch.Tensor:
    mask = torch.zeros(1, S, S)
    mask[..., list(which)] = 1
    return mask


@pytest.fixture
def half() -> SupervisedCrops:
    """The left half is visible, the right half occluder; the object goes on for two columns behind it."""
    return batch(columns(0, 1, 2, 3), columns(4, 5, 6, 7), columns(0, 1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 1, 0, 0], [1.0, 0, 0, 0], 1 / 2),
        ([0.5, 0, 0, 0], [1.0, 0, 0, 0], 1 / 2),
        ([0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], 1),  # equal soft masks agree in full
        ([0.25, 0.75, 0, 0], [0.75, 0.25, 0, 0], 1 / 3),
        ([0.0, 0, 0, 0], [0.0, 0, 0, 0], 0),
        ([1.0, 0, 0, 0], [0.0, 1, 0, 0], 0),
    ],
)
def test_soft_iou(a: list[float], b: list[float], expected: float) -> None:
    found = soft_iou(torch.tensor(a).view(1, 2, 2), torch.tensor(b).view(1, 2, 2))
    assert found.tolist() == pytest.approx([expected])


def test_undecided_logits_by_hand(half: SupervisedCrops) -> None:
    """Probability 1/2 on the 32 unknown pixels, 16 of which belong to the object."""
    losses = refinement_losses(torch.zeros(1, S, S), half, PLAIN)
    assert losses["cross_entropy"].item() == pytest.approx(math.log(2))
    assert losses["whole_iou"].item() == pytest.approx(0.5 * (1 - (32 + 8) / (32 + 16 + 8)))
    assert losses["hidden_iou"].item() == pytest.approx(0.25 * (1 - 8 / 24))
    assert set(losses) == {"cross_entropy", "whole_iou", "hidden_iou"}


def test_edge_pixels_count_more(half: SupervisedCrops) -> None:
    """Right everywhere but for the column before the edge, undecided: 8 pixels of double weight among 32 + 16."""
    logits = torch.where(half.amodal > 0, SURE, -SURE)
    logits[..., 5] = 0
    config = replace(PLAIN, edge=1.0, edge_px=1)
    assert refinement_losses(logits, half, PLAIN)["cross_entropy"].item() == pytest.approx(8 * math.log(2) / 32)
    assert refinement_losses(logits, half, config)["cross_entropy"].item() == pytest.approx(16 * math.log(2) / 48)


def test_right_answers_cost_nothing(half: SupervisedCrops) -> None:
    losses = refinement_losses(torch.where(half.amodal > 0, SURE, -SURE), half, RefinementLossConfig())
    assert [loss.item() for loss in losses.values()] == pytest.approx([0, 0, 0], abs=1e-6)


def test_only_unknown_pixels_are_free(half: SupervisedCrops) -> None:
    logits = torch.randn(1, S, S, requires_grad=True)
    sum(refinement_losses(logits, half, RefinementLossConfig()).values()).backward()
    assert not logits.grad[..., :4].any()
    assert logits.grad[..., 4:].abs().min() > 0
    other = torch.cat([torch.randn(1, S, 4), logits.detach()[..., 4:]], dim=-1)
    for name, value in refinement_losses(other, half, RefinementLossConfig()).items():
        torch.testing.assert_close(value, refinement_losses(logits, half, RefinementLossConfig())[name])


def test_known_background_is_not_free() -> None:
    given = batch(columns(0, 1), columns(2, 3), columns(0, 1, 2))
    logits = torch.zeros(1, S, S, requires_grad=True)
    sum(refinement_losses(logits, given, RefinementLossConfig()).values()).backward()
    assert not logits.grad[..., 4:].any()


@pytest.mark.parametrize("occluder", [columns(), columns(6, 7)])
def test_an_instance_without_hidden_part(occluder: torch.Tensor) -> None:
    given = batch(columns(0, 1, 2), occluder, columns(0, 1, 2))
    logits = torch.zeros(1, S, S, requires_grad=True)
    losses = refinement_losses(logits, given, RefinementLossConfig())
    total = sum(losses.values())
    total.backward()
    assert math.isfinite(total.item())
    assert torch.isfinite(logits.grad).all()
    assert losses["hidden_iou"].item() == 0
    if not occluder.any():
        assert total.item() == pytest.approx(0, abs=1e-6)


def test_hidden_iou_is_a_mean_over_instances_with_a_hidden_part(half: SupervisedCrops) -> None:
    whole = batch(columns(0, 1, 2), columns(6, 7), columns(0, 1, 2))
    both = batch(
        torch.cat([half.crops.visible, whole.crops.visible]),
        torch.cat([half.crops.occluder, whole.crops.occluder]),
        torch.cat([half.amodal, whole.amodal]),
    )
    logits = torch.zeros(2, S, S)
    alone = refinement_losses(logits[:1], half, PLAIN)
    together = refinement_losses(logits, both, PLAIN)
    assert together["hidden_iou"].item() == pytest.approx(alone["hidden_iou"].item())
    twice = batch(*(torch.cat([mask, mask]) for mask in (half.crops.visible, half.crops.occluder, half.amodal)))
    again = refinement_losses(logits, twice, PLAIN)
    assert again["hidden_iou"].item() == pytest.approx(alone["hidden_iou"].item())
    second = refinement_losses(logits[1:], whole, PLAIN)
    for name in ("cross_entropy", "whole_iou"):
        assert together[name].item() == pytest.approx((alone[name].item() + second[name].item()) / 2)


def test_few_unknown_pixels_do_not_weigh_like_many() -> None:
    """Below 16 unknown pixels the cross-entropy is a sum over 16: a sliver is no whole instance."""
    visible, occluder, amodal = columns(0), torch.zeros(1, S, S), columns(0)
    occluder[0, :4, 1] = 1
    losses = refinement_losses(torch.zeros(1, S, S), batch(visible, occluder, amodal), PLAIN)
    assert losses["cross_entropy"].item() == pytest.approx(4 * math.log(2) / 16)


def test_a_pixel_that_is_visible_in_full_is_not_free() -> None:
    """Masks that overlap: of the occluder only what the visible mask leaves is unknown, here columns 2 and 3."""
    given = batch(columns(0, 1), columns(0, 1, 2, 3), columns(0, 1, 2))
    losses = refinement_losses(torch.zeros(1, S, S), given, PLAIN)
    assert losses["cross_entropy"].item() == pytest.approx(math.log(2))
    assert losses["whole_iou"].item() == pytest.approx(0.5 * (1 - (16 + 4) / (16 + 8 + 4)))
    assert losses["hidden_iou"].item() == pytest.approx(0.25 * (1 - 4 / 12))
    logits = torch.zeros(1, S, S, requires_grad=True)
    sum(refinement_losses(logits, given, PLAIN).values()).backward()
    assert not logits.grad[..., :2].any()


def test_a_pixel_counts_by_the_share_that_is_not_visible() -> None:
    """Visible 3/4 of each of the 64 pixels, an occluder all over: 1/4 of each is unknown."""
    given = batch(torch.full((1, S, S), 0.75), torch.ones(1, S, S), torch.ones(1, S, S))
    logits = torch.zeros(1, S, S)
    logits[..., :4] = math.log(3)  # probability 3/4 on one half: entropy ln 4 - ln 3
    losses = refinement_losses(logits, given, PLAIN)
    assert losses["cross_entropy"].item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert losses["whole_iou"].item() == pytest.approx(0.5 * (1 - (0.75 + 0.25 * (0.75 + 0.5) / 2)))
    assert losses["hidden_iou"].item() == pytest.approx(0.25 * (1 - (0.75 + 0.5) / 2))


def test_what_is_not_known_counts_nowhere(half: SupervisedCrops) -> None:
    """Columns 5 and 7 are not known: columns 4 (the object's) and 6 are all that is asked, and 0 to 3 are given."""
    given = replace(half, known=1 - columns(5, 7))
    losses = refinement_losses(torch.zeros(1, S, S), given, PLAIN)
    assert losses["cross_entropy"].item() == pytest.approx(math.log(2))
    assert losses["whole_iou"].item() == pytest.approx(0.5 * (1 - (32 + 4) / (32 + 8 + 4)))
    assert losses["hidden_iou"].item() == pytest.approx(0.25 * (1 - 4 / 12))
    wrong = torch.zeros(1, S, S)
    wrong[..., [5, 7]] = torch.tensor([-SURE, SURE])
    for name, value in refinement_losses(wrong, given, PLAIN).items():
        assert value.item() == pytest.approx(losses[name].item())


def test_no_edge_is_asked_for_where_the_mask_is_not_known(half: SupervisedCrops) -> None:
    """With columns 5 to 7 unknown, the mask known ends at column 4: that one counts twice, right or wrong."""
    given = replace(half, known=1 - columns(5, 6, 7))
    config = replace(PLAIN, edge=2.0)
    logits = torch.zeros(1, S, S)
    assert refinement_losses(logits, given, config)["cross_entropy"].item() == pytest.approx(math.log(2))
    logits[..., 4] = math.log(3)
    found = refinement_losses(logits, given, config)["cross_entropy"].item()
    assert found == pytest.approx(3 * 8 * math.log(4 / 3) / (3 * 8))


@pytest.mark.parametrize(("hidden", "counted"), [(3, False), (4, False), (5, True)])
def test_a_hidden_part_has_more_than_four_pixels(half: SupervisedCrops, hidden: int, counted: bool) -> None:
    """A sliver that only rounding made is no hidden part; of 5 among 32 unknown pixels the IoU is 2.5 / (2.5 + 16)."""
    amodal = columns(0, 1, 2, 3)
    amodal[0, :hidden, 4] = 1
    losses = refinement_losses(torch.zeros(1, S, S), replace(half, amodal=amodal), PLAIN)
    expected = 0.25 * (1 - 0.5 * hidden / (hidden + 0.5 * (32 - hidden)))
    assert losses["hidden_iou"].item() == pytest.approx(expected if counted else 0.0)


@pytest.mark.parametrize(("width", "band"), [(1, 2), (2, 3)])
@pytest.mark.parametrize("edge", [0.0, 0.5, 3.0])
def test_the_band_about_the_edge(half: SupervisedCrops, width: int, band: int, edge: float) -> None:
    """The edge lies between columns 5 and 6. Of the unknown columns 4 to 7 the band has 5 and 6, or with width 2 all;
    only column 7 is undecided."""
    logits = torch.where(half.amodal > 0, SURE, -SURE)
    logits[..., 7] = 0
    config = replace(PLAIN, edge=edge, edge_px=width)
    inside = 1 + edge if width == 2 else 1.0
    total = 4 + edge * (4 if width == 2 else band)
    found = refinement_losses(logits, half, config)["cross_entropy"].item()
    assert found == pytest.approx(inside * math.log(2) / total)


def test_the_weights_that_trainings_use(half: SupervisedCrops) -> None:
    """By default edge pixels count twice in a band of one pixel on each side, and the two IoU terms count half."""
    logits = torch.zeros(1, S, S)
    logits[..., 5:7] = torch.tensor([SURE, -SURE])  # right at the edge, undecided in the columns 4 and 7
    losses = refinement_losses(logits, half, RefinementLossConfig())
    assert losses["cross_entropy"].item() == pytest.approx(2 * math.log(2) / (2 + 2 * 2))
    assert losses["whole_iou"].item() == pytest.approx(0.5 * (1 - (32 + 4 + 8) / (32 + 16 + 4)))
    assert losses["hidden_iou"].item() == pytest.approx(0.5 * (1 - (4 + 8) / (16 + 4)))


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(3, 2, S, S, generator=generator, dtype=torch.float64).softmax(dim=0)
    given = batch(shares[0], shares[1], (shares[0] + 0.6 * shares[1]))
    logits = torch.randn(2, S, S, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sum(refinement_losses(x, given, RefinementLossConfig()).values()), logits)
