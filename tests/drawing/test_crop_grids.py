"""Images of a training, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from shape3d_amodal.drawing.colors import BLUE, ORANGE, PURPLE, Color
from shape3d_amodal.drawing.crop_grids import crop_grid, found_grid, mask_grid, spread_rows
from shape3d_amodal.drawing.overlays import Image
from shape3d_amodal.drawing.text import title_row
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
    titled = crop_grid(crops, {"mask": mask})
    grid = titled[-(2 * 12 - 4) :]
    assert len(titled) > len(grid) and grid.shape == (2 * 12 - 4, 3 * 12 - 4, 3)

    def blended(color: Color) -> list[float]:
        return [0.45 * 127.5 + 0.55 * channel for channel in color]

    grey = [127.5] * 3
    for column, colors in enumerate(((grey, grey), (blended(BLUE), blended(PURPLE)), (blended(BLUE), blended(ORANGE)))):
        left = column * 12
        assert grid[0, left] == pytest.approx(colors[0], abs=1)
        assert grid[19, left + 2] == pytest.approx(colors[1], abs=1)
        assert grid[0, left + 4] == pytest.approx(grey, abs=1)
    assert (grid[8:12] == 255).all() and (grid[:, 8:12] == 255).all()


def test_images_are_grey_under_masks() -> None:
    """As bright as Pillow makes them; the image itself keeps its colours."""
    color = (200, 40, 90)
    (brightness,) = PillowImage.new("RGB", (1, 1), color).convert("L").tobytes()
    blank = torch.zeros(1, 4, 4)
    rgb = torch.tensor(color)[:, None, None].expand(1, 3, 4, 4) / 255
    crops = InstanceCrops(rgb, blank, blank, torch.zeros(1, dtype=torch.int64), torch.zeros(1, 4))
    for grid, step in (
        (crop_grid(crops, {"mask": blank}), 8 + 4),
        (found_grid([(np.full((4, 4, 3), color, np.uint8), [], [])]), 4 + 4),
    ):
        assert grid[-1, 0].tolist() == list(color)
        assert grid[-1, step] == pytest.approx([brightness] * 3, abs=1)
        assert grid[-1, 2 * step] == pytest.approx([brightness] * 3, abs=1)


def test_images_of_two_sizes_with_their_objects() -> None:
    """A column each for the image, its objects and what was found; the smaller image has white beside it."""
    large, small = np.full((4, 6, 3), 100, np.uint8), np.full((3, 2, 3), 100, np.uint8)
    amodal = np.zeros((4, 6), bool)
    amodal[0, :2] = True
    visible = amodal.copy()
    visible[0, 1] = False
    grid = found_grid([(large, [(amodal, visible)], []), (small, [], [])])[-12:]
    assert grid.shape == (4 + 4 + 4, 3 * (6 + 4) - 4, 3)
    assert (grid[0, 0] == 100).all() and (grid[0, 20] == 100).all() and (grid[8:11, :2] == 100).all()
    assert grid[0, 10] == pytest.approx([0.45 * 100 + 0.55 * channel for channel in BLUE], abs=1)
    assert grid[0, 11] == pytest.approx([0.45 * 100 + 0.55 * channel for channel in ORANGE], abs=1)
    assert (grid[11] == 255).all() and (grid[8:, 2:6] == 255).all()


def test_masks_beside_each_other() -> None:
    """Three pixels a pixel, white for 1."""
    one = torch.zeros(2, 30, 30)
    one[0, :10] = 1
    grid = mask_grid({"truth": one, "decoded": 1 - one})[-(2 * 94 - 4) :]
    assert grid.shape == (2 * 94 - 4, 2 * 94 - 4, 3)
    assert (grid[:30, :90] == 255).all() and (grid[30:90, :90] == 0).all()
    assert (grid[:30, 94:] == 0).all() and (grid[94:, :90] == 0).all()


def test_every_column_of_the_samples_of_a_training_has_a_title(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, ...]] = []

    def remembered(titles: Sequence[str], width: int, gap: int) -> Image:
        told.append(tuple(titles))
        return title_row(titles, width, gap)

    monkeypatch.setattr("shape3d_amodal.drawing.crop_grids.title_row", remembered)
    blank = torch.zeros(1, 64, 64)
    crops = InstanceCrops(torch.ones(1, 3, 64, 64), blank, blank, torch.zeros(1, dtype=torch.int64), torch.zeros(1, 4))
    grids = [
        crop_grid(crops, {"silhouette": blank, "final": blank, "truth": blank}),
        crop_grid(crops, {"completed": blank}, given=("no image", "cut mask")),
        mask_grid({"truth": blank, "decoded": blank}),
        found_grid([(np.zeros((64, 64, 3), np.uint8), [], [])]),
    ]
    assert told == [
        ("image", "visible, occluders", "silhouette", "final", "truth"),
        ("no image", "cut mask", "completed"),
        ("truth", "decoded"),
        ("image", "truth", "found"),
    ]
    for grid, titles in zip(grids, told, strict=True):
        head = grid[: len(grid) - (192 if "decoded" in titles else 64 if "found" in titles else 128)].min(axis=2)
        width = (grid.shape[1] + 4) // len(titles)
        for number in range(len(titles)):
            assert (head[:, number * width : (number + 1) * width] < 128).sum() > 30, "letters"
            assert (head[:, (number + 1) * width - 4 : (number + 1) * width] == 255).all(), "white between columns"


def test_rows_are_spread_over_what_is_hidden() -> None:
    hidden = np.array([0.5, 0.0, 0.3, 0.05, 0.7, 0.2], np.float32)
    assert spread_rows(np.append(hidden, 0.25).astype(np.float32), 3).tolist() == [5, 2, 4]
    assert spread_rows(hidden, 2).tolist() == [5, 4]
    assert spread_rows(hidden).tolist() == [5, 2, 0, 4]
    assert spread_rows(np.zeros(3, np.float32)).tolist() == []
