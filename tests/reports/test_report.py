from __future__ import annotations

import base64
import io
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.given_masks.completion import METRICS
from shape3d_amodal.evaluation.tables import Table
from shape3d_amodal.reports.cases import completion_case, gallery
from shape3d_amodal.reports.charts import _PAINTS, BarChart, LineChart, MeanChart, Series, _color
from shape3d_amodal.reports.html import (
    CaseGroup,
    Figure,
    Fold,
    Key,
    Panel,
    ReportCase,
    Section,
    _columns,
    data_uri,
    write_report,
)

EVIL = '<script>alert("1")</script> & "co"'
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that every element is closed in order, and collects elements, and texts with the element they are in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open:
            self.texts.append((self.open[-1], data))


BARS = BarChart(
    title="bars",
    names=("chair", EVIL),
    series=(
        Series(name=EVIL, values=(50.0, math.nan), intervals=((40.0, 60.0), (math.nan, math.nan)), color=8),
        Series(name="final", values=(120.0, 0.0)),
    ),
    note="whiskers",
)


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def case(title: str, score: float) -> ReportCase:
    panels = (Panel(label="image", image=pixels()), Panel(label=EVIL, image=pixels()[..., 0], value="12.3"))
    return ReportCase(title=title, caption=EVIL, panels=panels, score=score)


UNTITLED = ReportCase(title="", caption="", panels=(Panel(label="only", image=pixels()),), color=(230, 159, 0))


@pytest.fixture
def page(tmp_path) -> tuple[str, Page]:
    table = Table(
        title=EVIL,
        corner="category",
        columns=("a", EVIL),
        rows=(("x", (1.0, 2.0)), ("mean", (math.nan, 3.0))),
        summary=("mean",),
    )
    write_report(
        tmp_path / "report.html",
        title=EVIL,
        intro="intro",
        figures=[Figure(label="mIoU", value="93.9", note="of 26"), Figure(label="plain", value="1")],
        sections=[
            Section(title=EVIL, note="protocol", blocks=(table, table, BARS)),
            Section(
                title="Cases",
                keys=(Key(label="a colour's meaning", color=(0, 114, 178)),),
                hint="what to do next",
                blocks=(
                    CaseGroup(title="Best", cases=(case("chair.png", 0.9),), note="legend"),
                    Fold(title="More", note="folded", blocks=(table, BARS, CaseGroup(title="", cases=(UNTITLED,)))),
                ),
            ),
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
    sections = [attributes["id"] for tag, attributes in parsed.elements if tag == "section"]
    assert [attributes["href"][1:] for tag, attributes in parsed.elements if tag == "a"] == sections


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
    assert words.count(EVIL) >= 8 and "chair.png" in words and "what to do next" in words
    assert all(word in words for word in ("93.9", "whiskers", "legend", "12.3", "protocol"))
    assert "Empty" not in words


def test_a_fold_is_closed_and_has_its_blocks(page):
    """The rest of the page is not in it; what is in it is as outside."""
    text, parsed = page
    assert ("details", {}) in parsed.elements, "closed"
    inside = Page(re.search("<details>.*?</details>", text.split("<h2>Cases")[1], re.DOTALL)[0])
    tags = [tag for tag, _ in inside.elements]
    assert [tags.count(tag) for tag in ("table", "svg", "article")] == [1, 1, 1]
    assert tags.index("summary") < tags.index("table") < tags.index("svg") < tags.index("article")
    assert "More" in inside.words and "folded" in inside.words and "chair.png" not in inside.words


def test_names_are_shown_as_they_are_and_nothing_is_said_twice(page):
    text, parsed = page
    assert "text-transform" not in text
    headings = [words for tag, words in parsed.texts if tag in ("h3", "h4") and words.strip()]
    assert headings.count("Best") == 1 and "" not in headings
    assert "<h4></h4>" not in text and "<h3></h3>" not in text and '<dd class="small"></dd>' not in text


def test_nothing_is_wider_than_the_page(page):
    """Tables and charts scroll in a box of their own, images shrink, long words break; boxes may be narrow."""
    text, _ = page
    style = re.sub(r"/\*.*?\*/", "", text.split("<style>")[1].split("</style>")[0], flags=re.DOTALL)
    rules: dict[str, str] = {}
    for names, body in re.findall(r"([^{}]+)\{([^{}]*)\}", style):
        name = " ".join(names.split())
        rules[name] = rules.get(name, "") + body
    assert "overflow-x: auto" in rules[".scroll"] and "min-width: 0" in rules[".table"]
    assert "max-width: 100%" in rules[".panel img"] or "width: 100%" in rules[".panel img"]
    assert "min(100%" in rules[".tables"] and "minmax(0, 1fr)" in rules[".panels"]
    assert all("overflow-wrap: anywhere" in rules[name] for name in (".group > h3, h4, h1, .intro, .note", ".facts dd"))
    stack: list[str | None] = []

    class Boxes(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag in ("table", "svg"):
                assert "scroll" in stack, tag
            if tag not in VOID:
                stack.append(dict(attrs).get("class"))

        def handle_endtag(self, _):
            stack.pop()

    Boxes().feed(text)
    assert stack == []


def test_table_marks_best_and_summary(page):
    text, _ = page
    assert '<td class="best">3.0</td>' in text
    assert '<tr class="sum"><th scope="row">mean</th><td>–</td>' in text


def test_bars_stay_in_the_chart(page):
    """100 % is the upper end; an undefined value has no bar, an undefined interval no whisker."""
    _, parsed = page
    axes = BARS.figure().axes[0]
    assert axes.get_ylim() == (0, 100)
    assert [(bar.get_height(), bar.get_facecolor()) for bar in axes.patches] == [
        (50, to_rgba(_color("s0"))),
        (100, to_rgba(_color("accent"))),
        (0, to_rgba(_color("accent"))),
    ]
    whiskers = [segment.tolist() for lines in axes.collections for segment in lines.get_segments()]
    middle = axes.patches[0].get_x() + axes.patches[0].get_width() / 2
    assert whiskers == [[[pytest.approx(middle), 40], [pytest.approx(middle), 60]]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["chair", EVIL]
    told = [text for tag, text in parsed.texts if tag == "title"]
    assert told[1:4] == [f"chair, {EVIL}: 50.0", "chair, final: 120.0", f"{EVIL}, final: 0.0"]
    svg, _ = (attributes for tag, attributes in parsed.elements if tag == "svg")
    assert svg["aria-label"] == f"bars. {EVIL}: mean 50.0; final: mean 60.0"


def test_colours_are_those_of_the_page(page):
    """Light or dark: every colour that is drawn is a variable of the style sheet, and each of these is defined."""
    text, parsed = page
    styles = [attributes["style"] for tag, attributes in parsed.elements if "style" in attributes and tag != "div"]
    assert styles.count("background: rgb(0, 114, 178)") == 1, "the key of an image's colours, which are fixed"
    styles.remove("background: rgb(0, 114, 178)")
    used = {name for style in styles for name in re.findall(r"var\(--(\w+)\)", style)}
    assert used == {"ink", "soft", "line", "accent", "s0"}
    assert not any("#" in style.replace("url(#", "") for style in styles)
    light, dark = text.split("prefers-color-scheme: dark")
    assert all(f"--{name}:" in light and f"--{name}:" in dark for name in _PAINTS)


def test_charts_are_the_same_every_time_and_share_no_ids():
    chart = LineChart(title="a", names=("x", "y"), series=(Series(name="b", values=(1.0, 2.0)),))
    first, again, second = (chart.svg(name) for name in ("one", "one", "two"))
    assert first == again
    ids = [
        {attributes["id"] for _, attributes in Page(text).elements if "id" in attributes} for text in (first, second)
    ]
    assert ids[0] and not ids[0] & ids[1]


def test_long_names_are_slanted_and_very_long_ones_cut():
    names = tuple(f"a long category name {i}" for i in range(12))
    assert {label.get_rotation() for label in _labels(BarChart(title="", names=names, series=()))} == {35}
    assert {label.get_rotation() for label in _labels(BarChart(title="", names=("chair",), series=()))} == {0}
    (label,) = _labels(BarChart(title="", names=("a" * 50,), series=()))
    assert label.get_text() == "a" * 35 + "…"


def _labels(chart):
    return chart.figure().axes[0].get_xticklabels()


def test_matplotlib_waits_for_a_chart():
    code = "import sys, shape3d_amodal.reports.benchmark.report, shape3d_amodal.reports.statistics; "
    code += "sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
    chart = MeanChart(title="means", series=series)
    axes = chart.figure().axes[0]
    assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in axes.patches] == [(50, 0), (100, 2)]
    assert [bar.get_facecolor() for bar in axes.patches] == [to_rgba(_color("s0")), to_rgba(_color("accent"))]
    whiskers = [segment.tolist() for lines in axes.collections for segment in lines.get_segments()]
    assert whiskers == [[[40, 0], [60, 0]]]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first one is at the top"
    assert [(text.get_text(), text.xy) for text in axes.texts] == [
        ("50.0", (60, 0)),
        ("–", (0, 1)),
        ("100.0", (100, 2)),
    ]
    words = Page(chart.svg("x")).words
    assert [word for word in words if word in ("a", "b", "c", "50.0", "100.0", "–", "100 %")] == [
        "100 %", "a", "b", "c", "50.0", "–", "100.0"
    ]  # fmt: skip


def test_curves_go_through_what_is_defined():
    series = (
        Series(name="a", values=(0.0, math.nan, 100.0)),
        Series(name="b", values=(math.nan, 50.0, math.nan), color=3),
    )
    chart = LineChart(title="curve", axis="hidden", names=("0–10", "10–20", "20–30"), series=series)
    axes = chart.figure().axes[0]
    drawn = [(line.get_xydata().tolist(), line.get_marker(), line.get_color()) for line in axes.lines]
    main, other = _color("accent"), _color("s3")
    assert drawn == [
        ([[0, 0], [2, 100]], "None", main),
        ([[0, 0]], "o", main),
        ([[2, 100]], "o", main),
        ([[1, 50]], "None", other),
        ([[1, 50]], "o", other),
    ]
    assert axes.get_xlabel() == "hidden" and axes.get_ylim() == (0, 100)
    told = [text for tag, text in Page(chart.svg("x")).texts if tag == "title"]
    assert told == ["0–10, a: 0.0", "20–30, a: 100.0", "10–20, b: 50.0"]


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
    grid = gallery([one, one], side=20, gap=2)
    named = tuple(replace(panel, label="a") for panel in one.panels)
    titled = gallery([replace(one, panels=named)] * 2, side=20, gap=2, titles=True)
    np.testing.assert_array_equal(titled[-len(grid) :], grid)
    head = titled[: -len(grid)].min(axis=2) < 128
    assert head[:, :20].any() and head[:, 22:].any() and not head[:, 20:22].any()
    assert grid.shape == (20 + 2 + 20, 20 + 2 + 20, 3)
    dark = grid[:20].max(axis=2) < 128
    rows, columns = np.nonzero(dark[:, :20])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (5, 20)
    rows, columns = np.nonzero(dark[:, 22:])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 10)
