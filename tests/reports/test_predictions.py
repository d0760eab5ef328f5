"""What a report on images says where little was found."""

from __future__ import annotations

import pytest

from shape3d_amodal.reports.predictions import advice


@pytest.mark.parametrize(
    ("found", "images", "empty", "begin"),
    [
        (0, 1, 1, "No object was found in 1 image. "),
        (0, 14, 14, "No object was found in 14 images. "),
        (1, 14, 13, "Only 1 object found in 14 images. "),
        (4, 14, 11, "Only 4 objects found in 14 images. "),
        (40, 14, 1, "No object was found in 1 of 14 images. "),
        (14, 1014, 1000, "Only 14 objects found in 1,014 images. "),
    ],
)
def test_little_is_said_with_what_to_do_next(found: int, images: int, empty: int, begin: str) -> None:
    text = advice(found, images, 0.5, empty=empty)
    assert text is not None and text.startswith(begin) and "\n" not in text
    for step in (
        "lower --min-score (it is 0.5)",
        "another --detector",
        "masks of your own to 'shape3d-amodal complete'",
    ):
        assert step in text


@pytest.mark.parametrize(("found", "images"), [(1, 1), (14, 14), (40, 14), (0, 0)])
def test_enough_needs_no_advice(found: int, images: int) -> None:
    assert advice(found, images, 0.5, known=("car",)) is None


def test_a_reason_is_the_categories_that_the_detector_knows() -> None:
    one = advice(0, 1, 0.5, known=("car",))
    assert one is not None and " The detector knows 1 category and no others: car. " in one
    two = advice(0, 1, 0.5, known=("car", "chair"))
    assert two is not None and " The detector knows 2 categories and no others: car, chair. " in two
    many = advice(0, 1, 0.5, known=[f"c{number}" for number in range(80)])
    assert many is not None and " 80 categories " in many and ", c18, c19 and 60 more. " in many


def test_a_score_of_0_cannot_be_lowered() -> None:
    text = advice(0, 1, 0.0)
    assert text is not None and "min-score" not in text and "another --detector" in text
