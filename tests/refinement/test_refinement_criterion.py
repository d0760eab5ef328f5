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
    second = refinement_losses(logits[1:], whole, PLAIN)
    for name in ("cross_entropy", "whole_iou"):
        assert together[name].item() == pytest.approx((alone[name].item() + second[name].item()) / 2)


def test_few_unknown_pixels_do_not_weigh_like_many() -> None:
    """Below 16 unknown pixels the cross-entropy is a sum over 16: a sliver is no whole instance."""
    visible, occluder, amodal = columns(0), torch.zeros(1, S, S), columns(0)
    occluder[0, :4, 1] = 1
    losses = refinement_losses(torch.zeros(1, S, S), batch(visible, occluder, amodal), PLAIN)
    assert losses["cross_entropy"].item() == pytest.approx(4 * math.log(2) / 16)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(3, 2, S, S, generator=generator, dtype=torch.float64).softmax(dim=0)
    given = batch(shares[0], shares[1], (shares[0] + 0.6 * shares[1]))
    logits = torch.randn(2, S, S, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sum(refinement_losses(x, given, RefinementLossConfig()).values()), logits)
