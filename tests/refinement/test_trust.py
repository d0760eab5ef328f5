"""Trust: what it looks at, by hand, and how it weighs."""

from __future__ import annotations

import math

import pytest
import torch

from shape3d_amodal.refinement.trust import SIGNS, Trust, TrustConfig, expected_iou, own_iou, signs
from shape3d_amodal.structures import Estimate, InstanceCrops, Viewpoint


def crops(visible: list[list[float]], occluder: list[list[float]]) -> InstanceCrops:
    masks = [torch.tensor(one)[None] for one in (visible, occluder)]
    size = masks[0].shape[-1]
    return InstanceCrops(torch.zeros(1, 3, size, size), *masks, torch.zeros(1, dtype=torch.int64), torch.zeros(1, 4))


def estimate(silhouette: list[list[float]], expected: float, fit: float) -> Estimate:
    zero = torch.zeros(1)
    view = Viewpoint(zero, zero, zero, zero + 1, torch.zeros(1, 2))
    mask = torch.tensor(silhouette)[None]
    return Estimate(
        torch.zeros(1, 1, 3),
        torch.zeros(1, 1, 3, dtype=torch.int64),
        view,
        mask,
        torch.tensor([fit]),
        expected=torch.tensor([expected]),
    )


def test_signs_by_hand() -> None:
    """Two visible pixels and two that may be hidden; the completion is sure of one, the estimate half sure of both."""
    given = crops([[1, 1], [0, 0]], [[0, 0], [1, 1]])
    logits = torch.tensor([[[0.0, 0.0], [40.0, -40.0]]])
    told = signs(logits, estimate([[1, 1], [0.5, 0.5]], expected=0.75, fit=0.9), given)[0]
    assert told.shape == (SIGNS,)
    wanted = [
        math.log(3),  # logit of 0.75
        math.log(9),
        (0.5 + 0) / max(1 + 0.5, 1),  # minima over maxima of (1, 0) and (0.5, 0.5)
        0.0,  # the completion has no doubt
        (1 + 1) / (2 + 1),  # 4 p (1 - p) = 1 for both hidden pixels, of a whole mask of 3
        1 / 3,
        1 / 3,
    ]
    torch.testing.assert_close(told, torch.tensor(wanted), rtol=1e-4, atol=1e-4)


def test_known_background_and_what_is_visible_do_not_count() -> None:
    given = crops([[1, 0], [0, 0]], [[0, 0], [0, 1]])
    logits = torch.zeros(1, 2, 2)
    first = signs(logits, estimate([[0.2, 0.9], [0.9, 0.5]], 0.5, 0.5), given)
    second = signs(logits, estimate([[0.9, 0.1], [0.3, 0.5]], 0.5, 0.5), given)
    torch.testing.assert_close(first, second)


def test_weights_of_both_and_bias() -> None:
    trust = Trust(TrustConfig(hidden=2))
    torch.nn.init.zeros_(trust.layers[2].weight)
    with torch.no_grad():
        trust.layers[2].bias.copy_(torch.tensor([1.0, -2.0, 0.25]))
    logits, silhouette = torch.tensor([[[3.0]]]), torch.tensor([[[0.8]]])
    result = trust(logits, silhouette, torch.zeros(1, SIGNS))
    own, other = math.log1p(math.exp(1.0)), math.log1p(math.exp(-2.0))
    assert float(result.detach()) == pytest.approx(own * 3 + other * math.log(4) + 0.25, rel=1e-5)


def test_silhouettes_of_0_and_1_are_finite() -> None:
    trust = Trust(TrustConfig())
    result = trust(torch.zeros(2, 1, 1), torch.tensor([[[0.0]], [[1.0]]]), torch.zeros(2, SIGNS))
    assert result.isfinite().all() and float(result[0].detach()) < float(result[1].detach())


def test_signs_are_normalized() -> None:
    trust = Trust(TrustConfig())
    plain = trust(torch.ones(1, 1, 1), torch.ones(1, 1, 1) / 3, torch.full((1, SIGNS), 0.5))
    trust.mean.fill_(2.0)
    trust.deviation.fill_(4.0)
    torch.testing.assert_close(trust(torch.ones(1, 1, 1), torch.ones(1, 1, 1) / 3, torch.full((1, SIGNS), 4.0)), plain)


def test_what_a_probability_says_of_itself() -> None:
    """Two pixels inside, of 0.9 and 0.6, and one outside, of 0.2: 1.5 pixels are shared of 2.2."""
    own = own_iou(torch.tensor([[[0.9, 0.6], [0.2, 0.0]], [[1.0, 0.0], [0.0, 0.0]]]))
    torch.testing.assert_close(own, torch.tensor([1.5 / 2.2, 1.0]))
    assert own_iou(torch.zeros(1, 2, 2)).isfinite().all()


def test_the_expected_iou_grows_with_both_signs() -> None:
    sure, unsure = torch.tensor([[[0.95, 0.95]]]), torch.tensor([[[0.55, 0.45]]])
    both = [
        float(expected_iou(mask, estimate([[1, 1]], expected, 0.9)))
        for mask in (sure, unsure)
        for expected in (0.9, 0.4)
    ]
    assert 0 < both[3] < min(both[1], both[2]) and max(both[1], both[2]) < both[0] < 1
