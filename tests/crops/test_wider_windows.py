"""Windows that reach farther than the crop's: pixels by hand, crops by where each pixel lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shape3d_amodal.crops.cutting import instance_crops, masks_through
from shape3d_amodal.crops.doubt import DoubtConfig, doubtful
from shape3d_amodal.crops.pixels import OUTSIDE, UNKNOWN, VISIBLE, PixelWindow, pixel_window, windows_of_crops
from shape3d_amodal.geometry.cameras import project
from shape3d_amodal.geometry.windows import through
from shape3d_amodal.priors.interface import seen_through
from shape3d_amodal.structures import Estimate, Viewpoint

SIGNS = np.array([".", "#", "?"])
SEEN = np.array([list("...#"), list(".##?"), list("..??")])
WINDOW = pixel_window(SEEN == "#", SEEN == "?", np.array([1, 0, 3, 2], np.float32), (8.0, 4.0, 1.0, 1.0))


def drawn(window: PixelWindow) -> list[str]:
    return ["".join(row) for row in SIGNS[window.state]]


def test_another_window_shows_the_same_image() -> None:
    assert drawn(WINDOW) == ["..", "##"]
    moved = WINDOW.moved(2, 0, 3)
    assert drawn(moved) == [".#?", "#??", "???"] and moved.box == (2, 0, 5, 3)
    assert moved.intrinsics == WINDOW.intrinsics and moved.aspect == 2.0
    assert drawn(moved.moved(1, 0, 2)) == drawn(WINDOW)


def test_which_pixels_lie_in_the_image() -> None:
    assert WINDOW.inside.all() and WINDOW.inside.shape == (2, 2)
    assert WINDOW.moved(-1, 2, 3).inside.tolist() == [[False, True, True], [False] * 3, [False] * 3]
    alone = PixelWindow(np.zeros((2, 2), np.uint8), -5, -5, (0.0, 0.0))
    assert alone.inside.all(), "only the window is known"


def test_beyond_what_is_known_things_go_on_as_at_its_border() -> None:
    """But what is visible there may only be the object."""
    alone = PixelWindow(np.array([[OUTSIDE, UNKNOWN], [VISIBLE, OUTSIDE]], np.uint8), 5, 5, (0.0, 0.0))
    assert drawn(alone.moved(4, 4, 4)) == ["..??", "..??", "?#..", "??.."]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([1.2, 0.1, 2.9, 1.9], (1, 0, 3, 2)),
        ([1, 0, 3.1, 2], (1, 0, 4, 2)),
        ([-9, 0, 3, 2], (0, 0, 3, 2)),
        ([1, 0, 99, 99], (1, 0, 4, 3)),
        ([0, 0, 4, 3], (0, 0, 4, 3)),
        ([-9, -9, -8, -8], (0, 0, 3, 2)),
    ],
)
def test_the_window_that_holds_a_box_ends_with_the_image(box: list[float], expected: tuple[int, ...]) -> None:
    """``expected`` is the rectangle that both need; the window is the square about it."""
    found = WINDOW.holding(np.array([box, [1, 0, 2, 1]]))
    x0, y0, x1, y1 = found.box
    assert x1 - x0 == y1 - y0 == max(expected[2] - expected[0], expected[3] - expected[1])
    assert x0 <= expected[0] and y0 <= expected[1] and x1 >= expected[2] and y1 >= expected[3]


def test_what_fits_or_is_not_known_changes_no_window() -> None:
    assert WINDOW.holding(np.array([[1, 0, 3, 2]])) is WINDOW
    assert WINDOW.holding(np.zeros((0, 4))) is WINDOW
    picture = np.zeros((3, 4, 3), np.uint8)
    (alone,) = windows_of_crops(instance_crops(picture, [SEEN == "#"], [SEEN == "?"], [0], 8))
    assert alone.holding(np.array([[-99, -99, 99, 99]])) is alone


def test_crops_through_other_windows() -> None:
    """A larger window of twice the side: each of its pixels is the mean of four, and empty beyond the old window."""
    rng = np.random.default_rng(0)
    crops = torch.from_numpy(rng.random((3, 2, 8, 8))).float()
    old = torch.tensor([[0.0, 0, 8, 8]] * 3)
    new = torch.tensor([[0.0, 0, 8, 8], [-4, 0, 12, 16], [2, 2, 6, 6]])
    found = through(crops, old, new)
    assert torch.equal(found[0], crops[0])
    wide = np.zeros((2, 8, 8), np.float32)
    wide[:, :4, 2:6] = crops[1].numpy().reshape(2, 4, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(found[1, :, :3, 3:5], wide[:, :3, 3:5], atol=0.12)
    assert not found[1, :, 5:].any() and not found[1, :, :, :1].any()
    near = found[2].reshape(2, 4, 2, 4, 2).mean(dim=(2, 4))
    np.testing.assert_allclose(near, crops[2, :, 2:6, 2:6], atol=0.25)
    assert np.corrcoef(near.ravel(), crops[2, :, 2:6, 2:6].ravel())[0, 1] > 0.9


def test_masks_of_crops_through_other_windows() -> None:
    """As if cut there at once; crops of the same windows are as they were, colours too."""
    rng = np.random.default_rng(1)
    visible, hiding = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    visible[4:12, 5:12], hiding[4:12, 12:25] = True, True
    picture = rng.integers(0, 255, (20, 30, 3), np.uint8)
    narrow, wide = np.array([[4, 3, 14, 13]], np.float32), np.array([[0, -4, 28, 24]], np.float32)
    crops = instance_crops(picture, [visible] * 2, [hiding] * 2, [0, 1], 16, np.concatenate([narrow, narrow]))
    crops = doubtful(crops, DoubtConfig())
    found = masks_through(crops, torch.from_numpy(np.concatenate([narrow, wide])), [(visible, hiding)] * 2)
    direct = instance_crops(picture, [visible], [hiding], [1], 16, wide)
    torch.testing.assert_close(found.visible[1:], direct.visible)
    torch.testing.assert_close(found.occluder[1:], direct.occluder)
    assert torch.equal(found.rgb[0], crops.rgb[0]) and not found.rgb[1].any()
    assert torch.equal(found.doubt[0], crops.doubt[0]) and crops.doubt[1].any() and not found.doubt[1].any()
    assert torch.equal(found.visible[0], crops.visible[0]) and torch.equal(found.window[1], torch.from_numpy(wide[0]))


def test_a_viewpoint_shows_the_same_through_another_window() -> None:
    """Points of the mesh are seen at the same pixels of the image."""
    window, other = torch.tensor([[10.0, 20, 74, 84]]), torch.tensor([[-6.0, 0, 90, 96]])
    numbers = [torch.tensor([value]) for value in (0.4, 0.2, 0.1, 1.3)]
    view = Viewpoint(*numbers, torch.tensor([[0.2, -0.3]]))
    verts = torch.from_numpy(np.random.default_rng(2).uniform(-0.4, 0.4, (1, 9, 3))).float()
    one = Estimate(verts, torch.zeros(1, 1, 3).long(), view, torch.ones(1, 8, 8), torch.ones(1), window=window)

    def pixels(estimate: Estimate) -> torch.Tensor:
        side, corner = estimate.window[0, 2] - estimate.window[0, 0], estimate.window[0, :2]
        return corner + (1 - project(verts, estimate.viewpoint)[0, :, :2]) * side / 2

    found = seen_through(one, other)
    torch.testing.assert_close(pixels(found), pixels(one), rtol=0, atol=1e-3)
    assert torch.equal(found.window, other) and not found.silhouette[0, 0].any()
    assert seen_through(one, window) is one
