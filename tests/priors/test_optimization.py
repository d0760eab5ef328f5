"""The loop of a fit: blur, looks and what is kept, on a subject whose score is written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

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
