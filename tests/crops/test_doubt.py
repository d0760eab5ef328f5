"""The doubtful band: where it lies, what the prior's loss makes of it, and how a mask may extend into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_config

from shape3d_amodal.crops.doubt import DoubtConfig, doubtful
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.priors.losses import certain_iou
from shape3d_amodal.refinement.regions import compose, composed
from shape3d_amodal.structures import InstanceCrops


def crops_of(visible: np.ndarray, occluder: np.ndarray) -> InstanceCrops:
    masks = torch.from_numpy(np.stack([visible, occluder]).astype(np.float32))
    size = visible.shape[-1]
    return InstanceCrops(torch.zeros(1, 3, size, size), masks[:1], masks[1:], torch.zeros(1).long(), torch.zeros(1, 4))


def a_crop() -> tuple[np.ndarray, np.ndarray]:
    visible, occluder = np.zeros((2, 24, 24))
    visible[8:14, 6:16] = 1  # 10 pixels wide
    visible[8, 6] = 0
    occluder[8:14, 16:20] = 1
    return visible, occluder


@pytest.mark.parametrize(
    ("config", "scale", "width"),
    [
        (DoubtConfig(px=2.0), 1, 2.0),
        (DoubtConfig(px=1.5), 1, 1.5),
        (DoubtConfig(px=1.0, share=0.3), 1, 3.0),
        (DoubtConfig(px=1.0, certainty=0.8), 4, 4.0),
    ],
)
def test_the_band(config: DoubtConfig, scale: float, width: float) -> None:
    """Background whose middle is at most ``width`` away from that of a visible pixel, by brute force."""
    visible, occluder = a_crop()
    found = doubtful(crops_of(visible, occluder), config, scale)
    assert found.doubt is not None
    rows, columns = np.nonzero(visible)
    for y in range(24):
        for x in range(24):
            near = np.hypot(rows - y, columns - x).min() <= width
            free = not visible[y, x] and not occluder[y, x]
            expected = (1 - config.certainty) * (near and free)
            assert float(found.doubt[0, y, x]) == pytest.approx(expected), (y, x)
            assert float(found.occluder[0, y, x]) == pytest.approx(occluder[y, x] + expected)


def test_without_doubt_crops_stay_as_they_are() -> None:
    crops = crops_of(*a_crop())
    assert doubtful(crops, None) is crops
    sure = doubtful(crops, DoubtConfig(certainty=1.0))
    assert torch.equal(sure.occluder, crops.occluder)
    estimate = torch.rand(1, 24, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(composed(estimate, crops), compose(estimate, crops.visible, crops.occluder))
    torch.testing.assert_close(composed(estimate, sure), compose(estimate, crops.visible, crops.occluder))
    nothing = doubtful(crops[:0], DoubtConfig())
    assert len(nothing) == 0


def test_the_loss_of_the_prior_weighs_the_band_by_its_certainty() -> None:
    visible, occluder = a_crop()
    silhouette = torch.zeros(1, 24, 24)
    silhouette[0, 6:14, 6:16] = 1  # two rows too high: of 21 pixels too many all but (6, 6) lie in the band
    for certainty in (0.0, 0.25, 1.0):
        crops = doubtful(crops_of(visible, occluder), DoubtConfig(px=2.0, certainty=certainty))
        iou = 59 / (59 + certainty * 20 + 1)
        assert float(certain_iou(silhouette, crops)) == pytest.approx(iou)


@pytest.mark.parametrize(
    ("certainty", "estimate", "expected"),
    [
        (0.5, 0.0, 0.0),
        (0.5, 1.0, 1.0),
        (0.5, 2 / 3, 0.5),
        (0.9, 10 / 11, 0.5),
        (0.0, 0.3, 0.3),
        (0.9, 0.5, 0.05 / 0.55),
    ],
)
def test_a_confident_mask_extends_into_the_band(certainty: float, estimate: float, expected: float) -> None:
    """Bayes: the odds of the estimate times the chance that a hidden part is taken for background."""
    visible, occluder = a_crop()
    crops = doubtful(crops_of(visible, occluder), DoubtConfig(px=2.0, certainty=certainty))
    found = composed(torch.full((1, 24, 24), estimate), crops)[0]
    assert float(found[7, 10]) == pytest.approx(expected, abs=1e-5)
    assert float(found[2, 10]) == 0, "known background"
    assert float(found[10, 17]) == pytest.approx(estimate), "an occluder"
    assert float(found[10, 10]) == 1


@pytest.mark.parametrize("certainty", [None, 0.5, 0.9])
def test_completed_masks_extend_as_far(certainty: float | None) -> None:
    """An object of 40 x 40 pixels in an image, whose network is confident everywhere: its mask grows by the band."""
    doubt = None if certainty is None else DoubtConfig(px=2.0, certainty=certainty)
    torch.manual_seed(0)
    model = AmodalModel(replace(tiny_config(), doubt=doubt)).eval()
    with torch.no_grad():
        model.refinement.head.weight.zero_()
        model.refinement.head.bias.fill_(30.0)
        if model.refinement.gate is not None:
            model.refinement.gate.weight.zero_()
            model.refinement.gate.bias.zero_()
    mask = np.zeros((80, 80), bool)
    mask[20:60, 20:60] = True
    one = ShapePriorPipeline.from_model(model).complete(np.zeros((80, 80, 3), np.uint8), [mask], ["chair"])[0]
    grown = (one.amodal & ~mask).any()
    assert grown == (certainty is not None)
    if grown:
        side = 40 / (1 - 2 * 0.08) / 32  # image pixels in one of the crop
        assert one.amodal[40, 20 - round(side)] and not one.amodal[40, round(20 - 4 * side)]
