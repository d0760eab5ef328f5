from __future__ import annotations

import base64
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.given_masks.completion_table import METRICS
from shape3d_amodal.evaluation.tables import Table
from shape3d_amodal.reports.cases import completion_case, gallery
from shape3d_amodal.reports.charts import BarChart, Series
from shape3d_amodal.reports.html import (
    CaseGroup,
    Figure,
    Panel,
    ReportCase,
    Section,
    _columns,
    data_uri,
    write_report,
)
from shape3d_amodal.reports.line_chart import LineChart
from shape3d_amodal.reports.mean_chart import MeanChart

EVIL = '<script>alert("1")</script> & "co"'
VOID = {"meta", "img", "br", "line", "rect"}


class Page(HTMLParser):
    """Checks that every element is closed in order, and collects elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID or (tag == "rect" and self.get_starttag_text()[-2:] != "/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def case(title: str, score: float) -> ReportCase:
    panels = (Panel(label="image", image=picture()), Panel(label=EVIL, image=picture()[..., 0], value="12.3"))
    return ReportCase(title=title, caption=EVIL, panels=panels, score=score)


@pytest.fixture
def page(tmp_path) -> tuple[str, Page]:
    table = Table(
        title=EVIL,
        corner="category",
        columns=("a", EVIL),
        rows=(("x", (1.0, 2.0)), ("mean", (math.nan, 3.0))),
        summary=("mean",),
    )
    chart = BarChart(
        title="bars",
        groups=("chair", EVIL),
        series=(
            Series(name=EVIL, values=(50.0, math.nan), intervals=((40.0, 60.0), (math.nan, math.nan)), color=8),
            Series(name="final", values=(120.0, 0.0)),
        ),
        note="whiskers",
    )
    write_report(
        tmp_path / "report.html",
        title=EVIL,
        intro="intro",
        figures=[Figure(label="mIoU", value="93.9", note="of 26")],
        sections=[
            Section(title=EVIL, note="protocol", blocks=(table, table, chart)),
            Section(title="Cases", blocks=(CaseGroup(title="Best", cases=(case("chair", 0.9),), note="legend"),)),
            Section(title="Empty", blocks=()),
        ],
        metrics=list(METRICS.values()),
        facts=[("command", EVIL)],
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_page_is_well_formed_and_needs_no_network(page):
    text, parsed = page
    tags = [tag for tag, _ in parsed.elements]
    assert not {"script", "link", "iframe", "object", "base"} & set(tags)
    assert not re.search(r"(https?:)?//[a-z]|url\(|@import", text, re.IGNORECASE)
    for _, attributes in parsed.elements:
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
        assert (attributes.get("href") or "#").startswith("#")
    assert "default-src 'none'" in text
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for tag, attributes in parsed.elements if tag == "a"} == set(ids)


def test_page_can_be_read_without_seeing_it(page):
    _, parsed = page
    assert all(attributes.get("alt") for tag, attributes in parsed.elements if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in parsed.elements if tag == "svg")
    assert all(attributes.get("scope") for tag, attributes in parsed.elements if tag == "th")
    assert dict(parsed.elements)["html"]["lang"] == "en"


def test_texts_are_shown_as_they_are(page):
    text, parsed = page
    assert "alert(" in text and "<script" not in text
    words = "".join(parsed.words)
    assert words.count(EVIL) >= 8
    assert all(word in words for word in ("93.9", "whiskers", "legend", "12.3", "protocol"))
    assert "Empty" not in words


def test_table_marks_best_and_summary(page):
    text, _ = page
    assert '<td class="best">3.0</td>' in text
    assert '<tr class="sum"><th scope="row">mean</th><td>–</td>' in text


def test_bars_stay_in_the_chart(page):
    _, parsed = page
    bars = [attributes for tag, attributes in parsed.elements if tag == "rect"]
    assert len(bars) == 3  # an undefined value has none
    assert [float(bar["height"]) for bar in bars] == pytest.approx([144, 288, 0])
    assert [bar["class"] for bar in bars] == ["s0", "s-main", "s-main"]
    assert sum(attributes.get("class") == "whisker" for _, attributes in parsed.elements) == 1


def test_long_names_are_slanted():
    names = tuple(f"a long category name {i}" for i in range(12))
    assert "rotate(-35" in BarChart(title="", groups=names, series=()).svg()
    assert "rotate" not in BarChart(title="", groups=("chair",), series=()).svg()


def test_empty_report_and_missing_folder(tmp_path):
    write_report(tmp_path / "a.html", title="t", intro="")
    assert "<section" not in (tmp_path / "a.html").read_text()
    with pytest.raises(DataError, match="cannot write"):
        write_report(tmp_path / "none" / "a.html", title="t", intro="")


def test_images_keep_their_content():
    grey = (np.arange(768).reshape(24, 32) % 256).astype(np.uint8)
    colour = np.full((8, 8, 3), (200, 40, 90), np.uint8)
    for image, kind, tolerance in ((grey, "png", 0), (colour, "jpeg", 4)):
        head, code = data_uri(image).split(",")
        assert head == f"data:image/{kind};base64"
        back = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
        assert np.abs(back.astype(int) - image).max() <= tolerance


def test_panels_fill_rows_evenly(page):
    text, _ = page
    assert 'style="--panels:2"' in text
    assert [_columns(panels) for panels in (1, 6, 7, 12, 13, 15)] == [1, 6, 4, 6, 5, 5]


def test_bars_of_means():
    series = (
        Series(name="a", values=(50.0,), intervals=((40.0, 60.0),), color=0),
        Series(name="b", values=(math.nan,), color=1),
        Series(name="c", values=(100.0,)),
    )
    parsed = Page(MeanChart(title="means", series=series).svg())
    bars = [attributes for tag, attributes in parsed.elements if tag == "rect"]
    assert [bar["class"] for bar in bars] == ["s0", "s-main"]
    first, last = (float(bar["width"]) for bar in bars)
    assert last == pytest.approx(2 * first, abs=0.2)
    (whisker,) = (attributes for _, attributes in parsed.elements if attributes.get("class") == "whisker")
    assert float(whisker["x2"]) - float(whisker["x1"]) == pytest.approx(0.2 * last, abs=0.2)
    assert [word for word in parsed.words if word in ("50.0", "100.0", "–")] == ["50.0", "–", "100.0"]


def test_curves_go_through_what_is_defined():
    series = (
        Series(name="a", values=(0.0, math.nan, 100.0)),
        Series(name="b", values=(math.nan, 50.0, math.nan), color=3),
    )
    parsed = Page(LineChart(title="curve", axis="hidden", ticks=("0–10", "10–20", "20–30"), series=series).svg())
    (line,) = (attributes for tag, attributes in parsed.elements if tag == "polyline")
    points = [tuple(map(float, point.split(","))) for point in line["points"].split()]
    circles = [attributes for tag, attributes in parsed.elements if tag == "circle"]
    assert [circle["class"] for circle in circles] == ["s-main", "s-main", "s3"]
    places = [(float(circle["cx"]), float(circle["cy"])) for circle in circles]
    assert points == places[:2]
    assert places[2][0] == pytest.approx((places[0][0] + places[1][0]) / 2)
    assert places[2][1] == pytest.approx((places[0][1] + places[1][1]) / 2)
    assert places[0][1] > places[1][1], "0 is below 100"


def test_completion_case():
    truth = np.zeros((64, 80), bool)
    truth[20:40, 30:50] = True
    visible = truth.copy()
    visible[:, 40:] = False
    final = np.roll(truth, 2, axis=0) & truth | visible
    image = np.zeros((64, 80, 3), np.uint8)
    found = {"silhouette": truth, "final mask": final}
    one = completion_case("chair", image, visible=visible, masks=found, focus="final mask", truth=truth)
    # Of 400 pixels 200 are hidden; the final mask lacks two rows of the hidden part, 20 pixels.
    assert one.caption == "50 % hidden · IoU 95.0 · occluded IoU 90.0"
    assert [(panel.label, panel.value) for panel in one.panels] == [
        ("image", ""),
        ("visible mask", "50.0"),
        ("silhouette", "100.0"),
        ("final mask", "95.0"),
        ("ground truth", ""),
    ]
    assert len({panel.image.shape for panel in one.panels}) == 1
    assert one.panels[0].image.shape[0] >= 256
    assert one.score == pytest.approx(0.95)


def test_completion_case_of_an_unhidden_object_and_an_empty_prediction():
    truth = np.ones((40, 40), bool)
    image = np.zeros((40, 40, 3), np.uint8)
    found = {"silhouette": ~truth, "final mask": truth}
    one = completion_case("a", image, visible=truth, masks=found, focus="final mask", truth=truth)
    assert one.caption == "0 % hidden · IoU 100.0 · occluded IoU –"
    assert one.panels[2].value == "0.0"


def test_large_crops_are_made_smaller():
    truth = np.ones((500, 400), bool)
    image = np.zeros((500, 400, 3), np.uint8)
    one = completion_case("a", image, visible=truth, masks={"m": truth}, focus="m", truth=truth, side=100)
    assert {panel.image.shape for panel in one.panels} == {(200, 160, 3)}


def test_gallery_fits_panels_into_a_grid():
    wide, tall = np.zeros((10, 40, 3), np.uint8), np.zeros((40, 20, 3), np.uint8)
    one = ReportCase(title="a", caption="", panels=(Panel(label="", image=wide), Panel(label="", image=tall)))
    picture = gallery([one, one], side=20, gap=2)
    assert picture.shape == (20 + 2 + 20, 20 + 2 + 20, 3)
    dark = picture[:20].max(axis=2) < 128
    rows, columns = np.nonzero(dark[:, :20])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (5, 20)
    rows, columns = np.nonzero(dark[:, 22:])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 10)
