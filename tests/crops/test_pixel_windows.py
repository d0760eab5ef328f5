"""What is known of an object, pixel by pixel, at the image's own resolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shape3d_amodal.crops.cutting import instance_crops
from shape3d_amodal.crops.pixels import (
    OUTSIDE,
    UNKNOWN,
    VISIBLE,
    PixelWindow,
    pixel_window,
    pixel_windows,
    windows_of_crops,
)

SIGNS = {OUTSIDE: ".", VISIBLE: "#", UNKNOWN: "?"}


def drawn(window: PixelWindow) -> list[str]:
    return ["".join(SIGNS[state] for state in row) for row in window.state.tolist()]


def masks(*rows: str) -> tuple[np.ndarray, np.ndarray]:
    """A visible mask (#) and its occluders (?); a pixel of both is an X."""
    pixels = np.array([list(row) for row in rows])
    return np.isin(pixels, ["#", "X"]), np.isin(pixels, ["?", "X"])


PICTURE = masks("..##", ".X#?", "..??")


def test_pixels_are_as_they_are_in_the_image() -> None:
    found = pixel_window(*PICTURE, np.array([0, 0, 3, 3], np.float32))
    assert drawn(found) == ["..#", ".##", "..?"]
    assert (found.left, found.top, found.side) == (0, 0, 3)


def test_what_lies_beyond_the_image_may_be_the_object() -> None:
    found = pixel_window(*PICTURE, np.array([2, -1, 6, 3], np.float32))
    assert drawn(found) == ["????", "##??", "#???", "????"]
    assert (found.left, found.top) == (2, -1)


def test_a_window_holds_whole_pixels() -> None:
    """All that it touches, and it stays square."""
    found = pixel_window(*PICTURE, np.array([-0.4, 0.5, 2.2, 3.1], np.float32))
    assert (found.left, found.top, found.side) == (-1, 0, 4)
    assert drawn(found) == ["?..#", "?.##", "?..?", "????"]
    assert pixel_window(*PICTURE, np.array([0.9, 0.0, 3.1, 2.2], np.float32)).side == 4
    assert pixel_window(*PICTURE, np.array([0.0, 0.9, 2.2, 3.1], np.float32)).side == 4
    assert pixel_window(*PICTURE, np.array([1.2, 1.2, 1.3, 1.3], np.float32)).state.tolist() == [[VISIBLE]]


def test_a_window_that_misses_the_image_knows_nothing() -> None:
    found = pixel_window(*PICTURE, np.array([-9, -9, -5, -5], np.float32))
    assert drawn(found) == ["????"] * 4


def test_the_principal_point_is_the_cameras_or_the_images_middle() -> None:
    window = np.array([0, 0, 3, 3], np.float32)
    assert pixel_window(*PICTURE, window).principal == (2.0, 1.5)
    known = pixel_window(*PICTURE, window, (500.0, 510.0, 1.75, 2.25))
    assert known.principal == (1.75, 2.25) and known.intrinsics == (500.0, 510.0, 1.75, 2.25)


def test_objects_of_an_image_have_their_own_windows() -> None:
    visible, occluder = PICTURE
    windows = np.array([[0, 0, 3, 3], [2, -1, 6, 3]], np.float32)
    found = pixel_windows([visible, occluder], [occluder, visible], windows, (9.0, 9.0, 1.0, 1.0))
    assert found[0] == pixel_window(visible, occluder, windows[0], (9.0, 9.0, 1.0, 1.0))
    assert found[1] == pixel_window(occluder, visible, windows[1], (9.0, 9.0, 1.0, 1.0))


@pytest.mark.parametrize("size", [16, 48])
def test_the_pixels_of_crops_stand_for_an_image(size: int) -> None:
    visible, occluder = np.zeros((2, 60, 80), bool)
    visible[20:40, 30:50], occluder[35:60, 30:60] = True, True
    crops = instance_crops(np.zeros((60, 80, 3), np.uint8), [visible], [occluder], [0], size)
    (found,) = windows_of_crops(crops)
    assert (found.left, found.top, found.side, found.principal) == (0, 0, size, (size / 2, size / 2))
    assert torch.equal(torch.from_numpy(found.state == VISIBLE), crops.visible[0] > 0.5)
    assert torch.equal(torch.from_numpy(found.state == UNKNOWN), (crops.occluder[0] > 0.5) & (crops.visible[0] <= 0.5))
