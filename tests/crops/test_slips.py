"""Sloppy masks: grown, shrunk or bitten at the edge, by a known number of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shape3d_amodal.crops.slips import BITTEN, EXACT, GROWN, SHRUNK, Slips
from shape3d_amodal.structures import InstanceCrops


def crops_of(count: int) -> InstanceCrops:
    visible, occluder = torch.zeros(count, 32, 32), torch.zeros(count, 32, 32)
    visible[:, 8:20, 8:20], occluder[:, 8:20, 20:26] = 1, 1
    return InstanceCrops(
        torch.zeros(count, 3, 32, 32), visible, occluder, torch.zeros(count).long(), torch.zeros(count, 4)
    )


def test_each_kind() -> None:
    crops = crops_of(4)
    slips = Slips(np.array([EXACT, GROWN, SHRUNK, BITTEN]), np.full(4, 2.0), np.full(4, 0.5))
    found = slips.of(crops)
    visible = found.visible.numpy()
    exact, grown, shrunk = np.zeros((3, 32, 32))
    exact[8:20, 8:20], shrunk[10:18, 10:18] = 1, 1
    y, x = np.indices((32, 32))
    beyond_y, beyond_x = np.maximum(np.maximum(8 - y, y - 19), 0), np.maximum(np.maximum(8 - x, x - 19), 0)
    grown[np.hypot(beyond_y, beyond_x) <= 2] = 1
    for mask, expected in zip(visible, (exact, grown, shrunk), strict=False):
        np.testing.assert_array_equal(mask, expected)
    gone = (visible[3] < exact).nonzero()
    assert 0 < len(gone[0]) <= np.pi * 16 + 8 and not (visible[3] > exact).any()
    spread = max(np.ptp(gone[0]), np.ptp(gone[1])) + 1
    assert spread <= 9, "a disc of radius 4"
    np.testing.assert_array_equal(found.occluder[1], crops.occluder[0].numpy() * (1 - grown))
    assert torch.equal(found.occluder[2:], crops.occluder[2:])


def test_small_objects_are_not_wiped_out() -> None:
    crops = crops_of(2)
    crops.visible[:] = 0
    crops.visible[:, 10:13, 10:13] = 1
    slips = Slips(np.array([SHRUNK, BITTEN]), np.full(2, 3.0), np.full(2, 0.5))
    assert torch.equal(slips.of(crops).visible, crops.visible)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_the_crops(share: float) -> None:
    slips = Slips.draw(np.random.default_rng(0), 4000, share, 3.0)
    assert slips is not None
    kinds = np.bincount(slips.kind, minlength=4) / 4000
    np.testing.assert_allclose(kinds, [1 - share, *[share / 3] * 3], atol=4 * 0.5 / 4000**0.5)
    assert slips.amount.min() >= 0.5 and slips.amount.max() <= 3


def test_no_share_draws_nothing() -> None:
    generator = np.random.default_rng(3)
    assert Slips.draw(generator, 5, 0.0, 2.0) is None
    assert generator.random() == np.random.default_rng(3).random()
