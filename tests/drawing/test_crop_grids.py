"""Images of a training, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shape3d_amodal.drawing.crop_grids import crop_grid, found_grid, spread_rows
from shape3d_amodal.drawing.overlays import BLUE, ORANGE, PURPLE, Color
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
    grid = crop_grid(crops, {"mask": mask})
    assert grid.shape == (2 * 12 - 4, 3 * 12 - 4, 3)

    def blended(color: Color) -> list[float]:
        return [0.45 * 127.5 + 0.55 * channel for channel in color]

    grey = [127.5] * 3
    for column, colors in enumerate(((grey, grey), (blended(BLUE), blended(PURPLE)), (blended(BLUE), blended(ORANGE)))):
        left = column * 12
        assert grid[0, left] == pytest.approx(colors[0], abs=1)
        assert grid[19, left + 2] == pytest.approx(colors[1], abs=1)
        assert grid[0, left + 4] == pytest.approx(grey, abs=1)
    assert (grid[8:12] == 255).all() and (grid[:, 8:12] == 255).all()


def test_images_of_two_sizes_with_their_objects() -> None:
    """A column each for the image, its objects and what was found; the smaller image has white beside it."""
    large, small = np.full((4, 6, 3), 100, np.uint8), np.full((3, 2, 3), 100, np.uint8)
    amodal = np.zeros((4, 6), bool)
    amodal[0, :2] = True
    visible = amodal.copy()
    visible[0, 1] = False
    grid = found_grid([(large, [(amodal, visible)], []), (small, [], [])])
    assert grid.shape == (4 + 4 + 4, 3 * (6 + 4) - 4, 3)
    assert (grid[0, 0] == 100).all() and (grid[0, 20] == 100).all() and (grid[8:11, :2] == 100).all()
    assert grid[0, 10] == pytest.approx([0.45 * 100 + 0.55 * channel for channel in BLUE], abs=1)
    assert grid[0, 11] == pytest.approx([0.45 * 100 + 0.55 * channel for channel in ORANGE], abs=1)
    assert (grid[11] == 255).all() and (grid[8:, 2:6] == 255).all()


def test_rows_are_spread_over_what_is_hidden() -> None:
    hidden = np.array([0.5, 0.0, 0.3, 0.05, 0.7, 0.2], np.float32)
    assert spread_rows(np.append(hidden, 0.25).astype(np.float32), 3).tolist() == [5, 2, 4]
    assert spread_rows(hidden, 2).tolist() == [5, 4]
    assert spread_rows(hidden).tolist() == [5, 2, 0, 4]
    assert spread_rows(np.zeros(3, np.float32)).tolist() == []
