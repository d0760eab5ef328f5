from __future__ import annotations

import numpy as np
import torch

from shape3d_amodal.crops.augmentation import Augmentation, AugmentationConfig
from shape3d_amodal.structures import InstanceCrops, SupervisedCrops

N, S = 32, 16


def drawn(mask: torch.Tensor) -> SupervisedCrops:
    """Everything shows the same [S,S]."""
    mask = mask.expand(N, S, S)
    crops = InstanceCrops(
        mask[:, None].expand(-1, 3, -1, -1), mask, mask, torch.zeros(N, dtype=torch.int64), torch.zeros(N, 4)
    )
    return SupervisedCrops(crops, mask, known=mask, silhouette=mask, fit=torch.arange(N) / N)


def test_all_that_is_drawn_moves_together() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = drawn(torch.rand(S, S, generator=generator))
    result = Augmentation.draw(np.random.default_rng(0), N, AugmentationConfig(warp=0.7)).of(batch)
    moved = [result.crops.visible, result.crops.occluder, result.amodal, result.known, result.silhouette]
    for other in moved[1:]:
        assert torch.equal(other, moved[0])
    gain = (result.crops.rgb[:, 0] / moved[0].clamp(min=0.05)).flatten(1).quantile(0.3, dim=1)
    assert (result.crops.rgb[:, 0] <= gain[:, None, None] * moved[0] * 1.01 + 1e-3).float().mean() > 0.9
    assert torch.equal(result.fit, batch.fit)
    whole = batch.amodal[0]
    kept = [torch.allclose(one, whole, atol=1e-4) or torch.allclose(one, whole.flip(-1), atol=1e-4) for one in moved[0]]
    assert 0.1 * N < sum(kept) < 0.5 * N


def test_a_square_is_stretched_as_far_as_is_allowed_and_no_farther() -> None:
    mask = torch.zeros(S, S)
    mask[4:12, 4:12] = 1
    config = AugmentationConfig(warp=1.0, stretch=0.2, turn_deg=0.0)
    areas = Augmentation.draw(np.random.default_rng(1), N, config).of(drawn(mask)).amodal.sum(dim=(1, 2)) / 64
    assert areas.min() > np.exp(-0.4) - 0.02 and areas.max() < np.exp(0.4) + 0.02
    assert areas.max() - areas.min() > 0.3


def test_without_strength_crops_are_mirrored_at_most() -> None:
    mask = torch.rand(S, S, generator=torch.Generator().manual_seed(2))
    for config in (None, AugmentationConfig(warp=0.0)):
        for one in Augmentation.draw(np.random.default_rng(2), N, config).of(drawn(mask)).amodal:
            same = torch.allclose(one, mask, atol=1e-5)
            assert same or torch.allclose(one, mask.flip(-1), atol=1e-5)
