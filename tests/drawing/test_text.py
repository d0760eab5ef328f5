"""Titles above columns and tags on objects: where ink is, and where not."""

from __future__ import annotations

import numpy as np
import pytest

from shape3d_amodal.drawing.colors import BLUE, ORANGE
from shape3d_amodal.drawing.text import Tag, draw_tags, title_row

GREY = np.full((200, 320, 3), 120, np.uint8)


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(GREY.shape[:2], bool)
    mask[top:bottom, left:right] = True
    return mask


def place(image: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The box of a colour: top, left, bottom, right."""
    rows, columns = np.nonzero((image == color).all(axis=2))
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def test_each_title_stays_in_its_column() -> None:
    row = title_row(["image", "a title that needs several lines", "Donaudampfschifffahrtsgesellschaft", ""], 60, 6)
    assert row.shape[1:] == (4 * 66 - 6, 3) and row.dtype == np.uint8
    dark = row.min(axis=2) < 128
    parts = [dark[:, 66 * number : 66 * number + 66] for number in range(4)]
    heights = [int(np.ptp(np.nonzero(part.any(axis=1))[0])) + 1 if part.any() else 0 for part in parts]
    assert not any(part[:, 60:].any() for part in parts), "white between columns"
    assert heights[1] > 2 * heights[0] > 0 and heights[2] < 2 * heights[0] and heights[3] == 0
    assert np.ptp(np.nonzero(parts[2].any(axis=0))[0]) > 40, "cut to the width, not left out"


def test_a_tag_stands_at_its_object_in_its_colour() -> None:
    drawn = draw_tags(GREY, [Tag(("1 chair 0.93", "1"), BLUE, box(80, 100, 180, 300))])
    top, left, bottom, right = place(drawn, BLUE)
    assert left == 100 and bottom == 80 and 10 < bottom - top < 30 and 60 < right - left < 160
    inside = drawn[top:bottom, left:right]
    assert (inside == 255).all(axis=2).any(), "white letters"
    outside = drawn.copy()
    outside[top:bottom, left:right] = 120
    np.testing.assert_array_equal(outside, GREY)


def test_tags_do_not_cover_each_other_and_are_shortened_where_there_is_no_room() -> None:
    """Two objects at the same place, and one at the border."""
    same, corner = box(60, 60, 160, 200), box(0, 310, 20, 320)
    drawn = draw_tags(
        GREY,
        [Tag(("1 chair 0.93",), BLUE, same), Tag(("2 car 0.50",), ORANGE, same), Tag(("3 x",), (0, 99, 0), corner)],
    )
    first, second, third = (place(drawn, color) for color in (BLUE, ORANGE, (0, 99, 0)))
    assert first[2] <= second[0] or second[2] <= first[0] or first[3] <= second[1] or second[3] <= first[1]
    assert third[3] == 320 and third[0] >= 0, "inside the image"
    narrow = GREY[:, :50]
    short = draw_tags(narrow, [Tag(("1 a long name of a category 0.93", "1"), BLUE, box(80, 0, 180, 50)[:, :50])])
    assert place(short, BLUE)[3] < 30


def test_a_tag_stands_at_the_largest_part() -> None:
    """Something in front divides an object."""
    drawn = draw_tags(GREY, [Tag(("1",), BLUE, box(40, 20, 60, 40) | box(100, 150, 180, 300) | box(20, 0, 22, 2))])
    assert place(drawn, BLUE)[1:3] == (150, 100)


@pytest.mark.parametrize(("image", "mask"), [(GREY, box(0, 0, 0, 0)), (GREY[:20, :20], box(0, 0, 9, 9)[:20, :20])])
def test_what_is_empty_or_too_small_has_no_tag(image: np.ndarray, mask: np.ndarray) -> None:
    np.testing.assert_array_equal(draw_tags(image, [Tag(("1",), BLUE, mask)]), image)


def test_letters_grow_with_the_image() -> None:
    large = GREY.repeat(8, axis=0).repeat(8, axis=1)
    mask = box(80, 100, 180, 300).repeat(8, axis=0).repeat(8, axis=1)
    small = place(draw_tags(GREY, [Tag(("1",), BLUE, box(80, 100, 180, 300))]), BLUE)
    grown = place(draw_tags(large, [Tag(("1",), BLUE, mask)]), BLUE)
    assert grown[2] - grown[0] > 4 * (small[2] - small[0])


def test_names_of_other_scripts_are_drawn() -> None:
    boxes = [title_row([word], 200, 0) for word in ("стул", "chair", "χέρι")]
    assert len({one.tobytes() for one in boxes}) == 3
    assert all((one.min(axis=2) < 128).sum() > 40 for one in boxes)
