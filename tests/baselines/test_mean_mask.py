"""The mean mask: of boxes it is a box, laid over what is visible and no further than may be hidden."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import BoxMeshes

from shape3d_amodal import masks
from shape3d_amodal.baselines.frames import FRAME, category_frames
from shape3d_amodal.baselines.mean_mask import MeanMasks, mean_mask, stretched
from shape3d_amodal.errors import UsageError
from shape3d_amodal.structures import AmodalImage, AmodalInstance

NAMES = {1: "dresser", 2: "occluder"}


def record(*visible: tuple[int, np.ndarray]) -> AmodalImage:
    height, width = visible[0][1].shape
    instances = tuple(
        AmodalInstance(id=i + 1, category_id=category, visible=masks.encode(mask))
        for i, (category, mask) in enumerate(visible)
    )
    return AmodalImage(id=1, file_name="a.png", width=width, height=height, instances=instances)


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((96, 96), bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.fixture(scope="module")
def method() -> MeanMasks:
    return MeanMasks(BoxMeshes(["dresser/box"]), NAMES)


def test_the_mean_of_rectangles_is_a_rectangle():
    from_its_sides = category_frames(BoxMeshes(["dresser/box"]), "dresser", 4, (0.0,))
    mask, ratios = mean_mask(from_its_sides)
    assert mask.shape == (FRAME, FRAME) and mask.mean() > 0.95
    # 1.2 high, 1.0 wide and 0.6 deep: the front is 1.2 as high as wide, the side twice, but for the perspective.
    assert ratios[0] == pytest.approx(1.2, rel=0.15) and ratios[-1] == pytest.approx(2.0, rel=0.25)


def test_a_rectangle_is_completed_behind_its_occluder(method: MeanMasks):
    whole, bar = rectangle(20, 68, 30, 66), rectangle(45, 96, 20, 80)
    picture = np.zeros((96, 96, 3), np.uint8)
    (result,) = method.complete(picture, record((1, whole & ~bar), (2, bar)))
    found = masks.decode(result.segmentation)
    assert (found & whole & ~bar).sum() == (whole & ~bar).sum()  # what is visible is kept
    assert not (found & ~whole & ~bar).any()  # known background is left out
    assert found.sum() > (whole & ~bar).sum() + 100  # 36 pixels wide: some rows of what is hidden
    rows = np.nonzero((found & bar).any(axis=1))[0]
    columns = np.nonzero((found & bar).any(axis=0))[0]
    assert rows[-1] <= 95 and columns[0] >= 27 and columns[-1] <= 68  # as wide as it is seen to be


def test_nothing_is_added_to_what_nothing_hides(method: MeanMasks):
    whole = rectangle(20, 68, 30, 66)
    (result,) = method.complete(np.zeros((96, 96, 3), np.uint8), record((1, whole)))
    np.testing.assert_array_equal(masks.decode(result.segmentation), whole)


def test_stretched_masks_are_drawn_where_they_belong():
    mask = np.array([[True, False], [True, True]])
    drawn = stretched(mask, (1.0, 2.0), (4.0, 2.0), (6, 5))
    expected = ["     ", "  #  ", "  #  ", "  ## ", "  ## ", "     "]
    assert ["".join("#" if cell else " " for cell in row) for row in drawn] == expected
    assert stretched(mask, (-2.0, -1.0), (4.0, 2.0), (6, 5)).sum() == 2  # cut off at the border


def test_categories_without_shapes_are_said():
    with pytest.raises(UsageError, match="unknown category 'car'; known are dresser"):
        MeanMasks(BoxMeshes(["dresser/box"]), {1: "car"})
