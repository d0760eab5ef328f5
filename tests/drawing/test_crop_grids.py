"""Pictures of a training, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shape3d_amodal.drawing.crop_grids import HIDDEN, OCCLUDER, VISIBLE, crop_grid, spread_rows
from shape3d_amodal.structures import InstanceCrops


def test_colours_by_hand() -> None:
    """Two crops of 4 x 4 grey pixels: the left column is visible, the second one an occluder."""
    visible, occluder = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    visible[:, :, 0], occluder[:, :, 1] = 1, 1
    crops = InstanceCrops(
        torch.full((2, 3, 4, 4), 0.5), visible, occluder, torch.zeros(2, dtype=torch.int64), torch.zeros(2, 4)
    )
    mask = torch.zeros(2, 4, 4)
    mask[:, :, :2] = 1
    picture = crop_grid(crops, {"mask": mask})
    assert picture.shape == (2 * 12 - 4, 3 * 12 - 4, 3)

    def blended(color: tuple[float, float, float]) -> list[float]:
        return [255 * (0.45 * 0.5 + 0.55 * channel) for channel in color]

    grey = [127.5] * 3
    for column, colors in enumerate(
        ((grey, grey), (blended(VISIBLE), blended(OCCLUDER)), (blended(VISIBLE), blended(HIDDEN)))
    ):
        left = column * 12
        assert picture[0, left] == pytest.approx(colors[0], abs=1)
        assert picture[19, left + 2] == pytest.approx(colors[1], abs=1)
        assert picture[0, left + 4] == pytest.approx(grey, abs=1)
    assert (picture[8:12] == 255).all() and (picture[:, 8:12] == 255).all()


def test_rows_are_spread_over_what_is_hidden() -> None:
    hidden = np.array([0.5, 0.0, 0.3, 0.05, 0.7, 0.2], np.float32)
    assert spread_rows(np.append(hidden, 0.25).astype(np.float32), 3).tolist() == [5, 2, 4]
    assert spread_rows(hidden, 2).tolist() == [5, 4]
    assert spread_rows(hidden).tolist() == [5, 2, 0, 4]
    assert spread_rows(np.zeros(3, np.float32)).tolist() == []
