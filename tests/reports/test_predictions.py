"""What a report on images says where little was found."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shape3d_amodal.drawing.colors import distinct_colors
from shape3d_amodal.methods.prediction import PredictedObject
from shape3d_amodal.methods.resuming import Skipped
from shape3d_amodal.reports.prediction_cases import draw_objects
from shape3d_amodal.reports.predictions import PredictionFolder, advice, unmatched
from shape3d_amodal.structures import AmodalImage, Category


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


class Outline(HTMLParser):
    """Headings, captions and images of a page in their order, each with the kind of its element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.found.append(("img", dict(attrs)["alt"] or ""))
        elif tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, _):
        self.open.pop()

    def handle_data(self, data):
        if data.strip() and self.open and self.open[-1] in ("h1", "h2", "h3", "h4", "dt"):
            self.found.append((self.open[-1], data.strip()))


def square(left: int, category: str, score: float) -> PredictedObject:
    whole = np.zeros((60, 90), bool)
    whole[20:50, left : left + 25] = True
    seen = whole.copy()
    seen[20:35] = False
    return PredictedObject(category, score, np.zeros(4, np.float32), seen, whole, None)


def report(tmp_path: Path, *images: tuple[str, list[PredictedObject]], hint: str | None = None, **more: Any) -> str:
    folder = PredictionFolder(tmp_path, [Category(1, "chair"), Category(2, "car")])
    records = [
        AmodalImage(id=number, file_name=name, width=90, height=60, instances=())
        for number, (name, _) in enumerate(images, start=1)
    ]
    picture = np.full((60, 90, 3), 128, np.uint8)
    outcomes = [folder.add(record, picture, found) for record, (_, found) in zip(records, images, strict=True)]
    folder.finish(records, outcomes, hint=hint, facts={"detector": "d"}, **more)
    return (tmp_path / "report.html").read_text()


def test_a_report_lists_the_objects_of_each_image_once_by_number(tmp_path: Path) -> None:
    text = report(tmp_path, ("astronaut.png", [square(5, "chair", 0.93), square(50, "car", 0.5)]), ("b.jpg", []))
    assert Outline(text).found == [
        ("h1", "Objects found and completed"),
        ("dt", "images"),
        ("dt", "objects"),
        ("h2", "Images"),
        ("h3", "astronaut.png"),
        ("img", "astronaut.png: image"),
        ("img", "astronaut.png: objects, numbered as below"),
        ("h4", "1 chair"),
        ("img", "1 chair: image"),
        ("img", "1 chair: visible and hidden part"),
        ("h4", "2 car"),
        ("img", "2 car: image"),
        ("img", "2 car: visible and hidden part"),
        ("h3", "b.jpg"),
        ("img", "b.jpg: image"),
        ("h2", "How it was made"),
        ("h3", "Conditions"),
        ("dt", "detector"),
    ]
    assert "2 objects" in text and "no object found" in text and "score 0.93 · 50 % hidden" in text
    for color in distinct_colors(2):
        assert f'<span class="swatch" style="background: rgb{color}"></span>' in text, "as in the overview"


def test_a_report_says_what_was_left_out(tmp_path: Path) -> None:
    bad = [Skipped(reason=f"<{k}>.png: damaged", image_id=k) for k in range(21)]
    over = [Skipped(reason="folder: 1 subfolder passed over")]
    found = ("a.png", [square(5, "chair", 0.93)])
    for skipped, figure, told in (
        (bad[:1], ("dt", "image skipped"), "&lt;0&gt;.png: damaged; folder: 1 subfolder passed over. The list is in"),
        (bad, ("dt", "images skipped"), "&lt;19&gt;.png: damaged; and 2 more. The list is in skipped.json."),
    ):
        text = report(tmp_path, found, skipped=skipped, passed_over=over)
        assert figure in Outline(text).found and told in text
    text = report(tmp_path, found, passed_over=over)
    assert "skipped" not in str(Outline(text).found) and over[0].reason in text
    assert "Left out" not in report(tmp_path, found)


@pytest.mark.parametrize(
    ("found", "completed", "written", "told"),
    [
        ("ab", "ab", "ab", ()),
        ("ab", "abc", "abd", ()),
        ("ab", ("a", "anything"), "ab", ()),
        ("abc", "a", "abc", ("do not know b, c:",)),
        ("abc", "xy", "abc", ("do not know a, b, c:",)),
        ("abc", "a", "ab", ("do not know b:", "have no category c:")),
    ],
)
def test_categories_that_not_all_parts_know(found: str, completed: str, written: str, told: tuple[str, ...]) -> None:
    lines = unmatched(tuple(found), tuple(completed), tuple(written))
    assert len(lines) == len(told) and all(words in line for words, line in zip(told, lines, strict=True))


def test_one_object_is_no_objects(tmp_path: Path) -> None:
    text = report(tmp_path, ("a.png", [square(5, "chair", 0.93)]), hint="what to do next")
    assert Outline(text).found[1:3] == [("dt", "image"), ("dt", "object")]
    assert "· 1 object<" in text and "1 objects" not in text and "1 images" not in text
    assert text.index("what to do next") < text.index("a.png</h3>")


def test_each_object_has_its_colour_and_a_tag_in_the_overview() -> None:
    objects = [square(number, "chair", 0.5) for number in (2, 32, 62)]
    image = np.full((60, 90, 3), 128, np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    large = [
        replace(one, visible=one.visible.repeat(6, 0).repeat(6, 1), amodal=one.amodal.repeat(6, 0).repeat(6, 1))
        for one in objects
    ]
    drawn = draw_objects(image, large)
    for one, color in zip(large, distinct_colors(3), strict=True):
        own = (drawn == color).all(axis=2)
        tag = own & ~one.amodal
        assert (own & one.amodal).sum() > 100, "the outline"
        hidden = (one.amodal & ~one.visible)[130:170]
        assert (drawn[130:170][hidden] == 128).all(axis=1).mean() > 0.5, "the hidden part is outlined alone"
        assert tag.sum() + (own & one.amodal).sum() > 600, "the tag"
