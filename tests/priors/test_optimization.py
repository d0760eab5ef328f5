"""The loop of a fit: blur, looks and what is kept, on a subject whose score is written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from shape3d_amodal.priors.bank.deformation import DeformationConfig, DeformedMeshes
from shape3d_amodal.priors.bank.poses import ASPECT, DISTANCE, POSE, SCALE
from shape3d_amodal.priors.optimization import optimize
from shape3d_amodal.structures import InstanceCrops

S = 4
START, FINAL = 2.0, 0.5


def crops(count: int = 1) -> InstanceCrops:
    """All of each crop is visible: the IoU of a silhouette of one value is that value."""
    ones, zeros = torch.ones(count, S, S), torch.zeros(count, S, S)
    return InstanceCrops(torch.zeros(count, 3, S, S), ones, zeros, torch.zeros(count).long(), torch.zeros(count, 4))


class Level:
    """A silhouette of one value, sigmoid(``leaf``), pulled down by the penalty ``pull`` * ``leaf``."""

    def __init__(self, start: list[float], pull: float = 0.0, *, constant: bool = False) -> None:
        self.leaf = torch.tensor(start).requires_grad_()
        self.pull, self.constant, self.blurs, self.seen = pull, constant, list[float](), list[float]()

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.leaf], "lr": 0.1}]

    def silhouettes(self, blur_px: float) -> Tensor:
        self.blurs.append(blur_px)
        value = self.leaf * 0 + 0.5 if self.constant else self.leaf.sigmoid()
        self.seen.append(float(self.leaf.detach()[0]))
        return value[:, None, None].expand(-1, S, S)

    def penalty(self) -> Tensor:
        return self.pull * self.leaf

    def clamp(self) -> None:
        pass


def fit(subject: Level, steps: int) -> Tensor:
    return optimize(subject, crops(len(subject.leaf)), steps=steps, start_blur_px=START, final_blur_px=FINAL)


@pytest.mark.parametrize("steps", [1, 4, 12])
def test_the_blur_falls_geometrically_and_there_is_a_look_at_every_fifth_step_and_the_last(steps: int) -> None:
    subject = Level([0.0])
    fit(subject, steps)
    expected = [FINAL]
    for step in range(1, steps + 1):
        expected.append(START * (FINAL / START) ** (step / steps))
        if step % 5 == 0 or step == steps:
            expected.append(FINAL)
    assert subject.blurs == pytest.approx(expected)


def test_each_row_keeps_the_best_state_it_had() -> None:
    """One row may rise, the other one is pulled down: it stays at its start, with its score."""
    subject = Level([0.0, 0.0])
    subject.pull = torch.tensor([0.0, 5.0])
    scores = fit(subject, 10)
    assert subject.leaf[0] > 0.5 and subject.leaf[1] == 0
    assert scores.tolist() == pytest.approx([subject.leaf[0].sigmoid().item(), 0.5])


def test_what_is_no_better_is_not_kept() -> None:
    subject = Level([0.3], pull=1.0, constant=True)
    assert fit(subject, 7).tolist() == pytest.approx([0.5])
    assert subject.leaf.tolist() == pytest.approx([0.3])


def test_steps_shrink_by_three_hundredths() -> None:
    """Adam with a constant gradient goes by its step length: 0.1, then 0.97 of that, and so on."""
    subject = Level([0.0], pull=1.0, constant=True)
    fit(subject, 4)
    places = list(dict.fromkeys(subject.seen))
    expected = [0.0, 0.1, 0.1 + 0.097, 0.1 + 0.097 + 0.1 * 0.97**2, 0.1 + 0.097 + 0.1 * 0.97**2 + 0.1 * 0.97**3]
    assert places == pytest.approx([-one for one in expected], abs=1e-5)


def in_front(count: int) -> tuple[Tensor, Tensor]:
    """Poses of objects that face the camera, and windows of 4 pixels around them."""
    row = torch.zeros(POSE)
    row[[0, 4, 8, SCALE, DISTANCE, ASPECT]] = torch.tensor([1.0, -1.0, -1.0, 2.0, 3.0, 1.0])
    return row.expand(count, -1), torch.tensor([[-2.0, -2.0, 2.0, 2.0]]).expand(count, -1)


def test_the_penalty_of_a_deformation_by_hand() -> None:
    """5 times the mean squared displacement, 0.05 of the squared log-stretches, and of the squared turn."""
    subject = DeformedMeshes(torch.zeros(2, 4, 3), torch.zeros(2, 2, 3).long(), *in_front(2), S, DeformationConfig())
    assert subject.penalty().tolist() == pytest.approx([0.0, 0.0])
    (turn, _, _, stretch), (lattice,) = (group["params"] for group in subject.groups())
    with torch.no_grad():
        turn[1] = torch.tensor([0.1, 0.0, 0.2])
        stretch[1] = torch.tensor([0.1, -0.2, 0.3])
        lattice[1, 0] = 0.3  # a third of the numbers
    expected = 5 * 0.09 / 3 + 0.05 * (0.01 + 0.04 + 0.09) + 0.05 * 0.05
    assert subject.penalty().tolist() == pytest.approx([0.0, expected])


def test_a_deformation_stretches_by_the_exponential() -> None:
    verts = torch.tensor([[[0.1, 0.2, 0.3], [-0.4, 0.0, 0.5]]])
    subject = DeformedMeshes(verts, torch.zeros(1, 1, 3).long(), *in_front(1), S, DeformationConfig())
    torch.testing.assert_close(subject.verts(), verts)
    with torch.no_grad():
        subject.groups()[0]["params"][-1][0] = torch.tensor([2.0, 0.5, 1.0]).log()
        subject.groups()[1]["params"][0][0, 1] = 0.1  # all nodes of the lattice move up
    expected = (verts + torch.tensor([0.0, 0.1, 0.0])) * torch.tensor([2.0, 0.5, 1.0])
    torch.testing.assert_close(subject.verts(), expected)
