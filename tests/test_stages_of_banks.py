"""Stages 2 to 5 where a bank reaches beyond the crop: a bank and networks that say what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shape3d_amodal.crops.cutting import instance_crops
from shape3d_amodal.crops.pixels import pixel_windows
from shape3d_amodal.refinement.trust import expected_iou
from shape3d_amodal.stages import Stages
from shape3d_amodal.structures import AmodalPrediction, Estimate, Viewpoint

S, H, W = 32, 64, 96
VISIBLE, HIDING, TRUTH = np.zeros((3, H, W), bool)
VISIBLE[16:32, 16:32], HIDING[16:32, 32:96], TRUTH[16:32, 16:80] = True, True, True
NARROW, WIDE = torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([[8.0, 0, 72, 64]])


def bank(window: torch.Tensor) -> SimpleNamespace:
    """A bank that knows the truth; in this window a pixel of the crop is one or two of the image."""
    zero = torch.zeros(1)
    cut = instance_crops(np.zeros((H, W, 3), np.uint8), [TRUTH], [HIDING], [0], S, window.numpy())
    estimate = Estimate(
        torch.zeros(1, 3, 3),
        torch.tensor([[[0, 1, 2]]]),
        Viewpoint(zero, zero, zero, zero + 1, torch.zeros(1, 2)),
        cut.visible,
        zero + 0.9,
        expected=zero + 0.8,
        window=window,
    )
    return SimpleNamespace(
        categories=("chair",), known=("chair",), device=torch.device("cpu"), estimate=lambda *_, **__: estimate
    )


def learned() -> SimpleNamespace:
    """A network's prior that explains a little more, and says no IoU that is to be expected."""
    known = bank(NARROW)
    estimate = replace(known.estimate(), fit=torch.tensor([0.95]), expected=None, window=None)
    return SimpleNamespace(**{**vars(known), "estimate": lambda *_, **__: estimate})


def model(shown: list, trust: Callable | None) -> SimpleNamespace:
    """Networks that are sure that nothing is hidden."""

    def refine(_: object, evidence: dict) -> torch.Tensor:
        shown.append(evidence["bank"][0])
        return torch.full((1, S, S), -3.0)

    config = SimpleNamespace(categories=("chair",), crop_size=S)
    return SimpleNamespace(config=config, refine_both_ways=refine, trust=trust)


def run(window: torch.Tensor, trust: Callable | None) -> tuple[AmodalPrediction, torch.Tensor]:
    shown: list[torch.Tensor] = []
    crops = instance_crops(np.zeros((H, W, 3), np.uint8), [VISIBLE], [HIDING], [0], S, NARROW.numpy())
    windows = pixel_windows([VISIBLE], [HIDING], NARROW.numpy())
    stages = Stages({"bank": bank(window)}, model(shown, trust), "full")
    return stages.predict(crops, windows), shown[0]


def trust(logits: torch.Tensor, silhouette: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    return 0.5 * logits + silhouette.clamp(0.02, 0.98).logit() + 0 * signs.sum()


@pytest.mark.parametrize("weigh", [trust, None])
def test_networks_see_their_crop_and_the_bank_speaks_beyond_it(weigh: Callable | None) -> None:
    prediction, shown = run(WIDE, weigh)
    alone = bank(NARROW).estimate().silhouette
    torch.testing.assert_close(shown, alone, rtol=0, atol=0.51)  # borders blur: two image pixels a sample
    assert (shown - alone).abs().mean() < 0.03
    hidden = prediction.probability[0, 8:16, 12:]  # beyond column 32 of the image, two pixels each
    assert hidden[:, 5:20].min() > 0.95, "columns 42 to 72 lie beyond the crop"
    inside = hidden[2:-2, 1:3]
    expected = torch.sigmoid(torch.tensor(-1.5 + 3.89)) if weigh else torch.sigmoid(torch.tensor(-3.0))
    torch.testing.assert_close(inside, expected.expand_as(inside), rtol=0, atol=0.02)
    assert torch.equal(prediction.estimate.window, WIDE)


def test_the_score_is_that_of_the_mask_that_is_given() -> None:
    for window in (NARROW, WIDE):
        prediction, _ = run(window, trust)
        known = bank(window).estimate()
        torch.testing.assert_close(prediction.estimate.expected, expected_iou(prediction.probability, known))
    prediction, _ = run(NARROW, None)
    assert torch.equal(prediction.estimate.expected, prediction.estimate.fit)


def test_within_the_crop_nothing_is_resampled() -> None:
    prediction, shown = run(NARROW, trust)
    alone = bank(NARROW).estimate().silhouette
    assert torch.equal(shown, alone)
    whole = torch.sigmoid(trust(torch.full((1, S, S), -3.0), alone, torch.zeros(1)))
    crops = instance_crops(np.zeros((H, W, 3), np.uint8), [VISIBLE], [HIDING], [0], S, NARROW.numpy())
    hidden = crops.occluder.minimum(1 - crops.visible)
    torch.testing.assert_close(prediction.probability, crops.visible + hidden * whole)


def test_what_a_bank_alone_knows_keeps_its_score_beside_what_networks_know() -> None:
    """The network's prior says of a chair only how well it fits, the bank of a lamp what IoU is to be expected."""
    stages = Stages({"learned": learned(), "bank": bank(NARROW)}, model([], None), "visible-union")
    picture = np.zeros((H, W, 3), np.uint8)
    crops = instance_crops(picture, [VISIBLE] * 2, [HIDING] * 2, [0, 1], S, NARROW.expand(2, 4).numpy())
    windows = pixel_windows([VISIBLE] * 2, [HIDING] * 2, NARROW.expand(2, 4).numpy())
    both, alone = stages.predict(crops, windows), stages.predict(crops[1:], windows[1:])
    assert alone.estimate.expected.tolist() == pytest.approx([0.8])
    assert both.estimate.expected.tolist() == pytest.approx([0.95, 0.8])
