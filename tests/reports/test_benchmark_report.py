"""What a report says is what was scored, in every form; its size is bounded."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from drawn_data import benchmark, draw_data

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import read_results, write_results
from shape3d_amodal.benchmarking import provenance
from shape3d_amodal.benchmarking.methods import ConvexHullOptions, PipelineOptions, ResultsOptions
from shape3d_amodal.benchmarking.runner import RunScores, run_benchmark
from shape3d_amodal.evaluation.given_masks.completion import COUNTS, CompletionTable
from shape3d_amodal.evaluation.tables import Table
from shape3d_amodal.priors.learned.fit import FitConfig
from shape3d_amodal.reports.benchmark.completion_cases import best_median_worst, case_groups
from shape3d_amodal.reports.benchmark.facts import _chosen, _ran, facts_of
from shape3d_amodal.reports.benchmark.image_cases import image_groups, mean_best_iou
from shape3d_amodal.reports.benchmark.report import latex, to_latex, write_reports
from shape3d_amodal.reports.benchmark.run_charts import RunCharts, occlusion_curve
from shape3d_amodal.reports.benchmark.tables import RunTables
from shape3d_amodal.reports.charts import REST

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, list[RunScores]]:
    """A report of two data sets, one of them with a peer whose name has signs of every format."""
    folder = tmp_path_factory.mktemp("benchmark")
    draw_data(folder / "a")
    draw_data(folder / "b", images=4)
    peer = folder / "peer.json"
    run_benchmark(benchmark(folder / "a"), folder / "first")
    write_results(peer, read_results(folder / "first" / "results" / "squares-masks" / "hull.json"))
    data = {
        name: {"annotations": str(folder / name / "annotations.json"), "images": str(folder / name / "images")}
        for name in ("a", "b")
    }
    methods = {
        "visible": {"kind": "visible_only", "note": "a <note> & more"},
        "A_1 & 50% <x>|y": {"kind": "results", "file": {"a": str(peer)}, "seconds": 0.25, "parameters": 1_500_000},
        "hull": {"kind": "convex_hull", "background": False},
    }
    runs = [{"data": "a", "title": "First"}, {"data": "b", "methods": ["visible", "hull"], "without": ["car"]}]
    scores = run_benchmark(benchmark(folder, data=data, methods=methods, runs=runs), folder / "out")
    write_reports(folder / "out", scores, title="A title", intro="An intro.", command="shape3d-amodal benchmark x.yaml")
    return folder / "out", scores


def test_every_number_is_in_the_csv(written):
    out, scores = written
    rows = list(csv.DictReader(io.StringIO((out / "scores.csv").read_text())))
    for run in scores:
        for name, method in run.methods.items():
            own = {
                (row["metric"], row["category"]): row
                for row in rows
                if (row["data"], row["method"]) == (run.run.data, name)
            }
            row = own["miou", "mean"]
            assert float(row["value"]) == pytest.approx(100 * method.table.score["miou"], abs=1e-4)
            assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
            car = method.table.by_category()["car"]
            assert float(own["occluded_miou", "car"]["value"]) == pytest.approx(100 * car["occluded_miou"], abs=1e-4)
    (peer,) = (row for row in rows if row["method"].startswith("A_1") and row["metric"] == "parameters")
    assert float(peer["value"]) == 1_500_000


def test_markdown_has_a_table_for_each_run_with_the_best_marked(written):
    out, _ = written
    text = (out / "tables.md").read_text()
    first, second = text.split("## First")[1].split("## b\n")
    # IoUs of the visible masks of chairs: 0.95, 0.85, 0.75, and 0.95, 0.85 in the smaller set; the hull is better.
    assert "| chair | 85.0 |" in first and "| chair | 90.0 | **" in second
    assert "A_1 & 50% <x>\\|y" in first and "A_1" not in second.split("## How")[0]
    assert "mean without car" in second and "mean without car" not in first
    assert "- command: shape3d-amodal benchmark x.yaml" in text and "- commit: " in text and "torch " in text


def test_json_has_everything(written):
    out, scores = written
    content = json.loads((out / "scores.json").read_text())
    assert [run["title"] for run in content["runs"]] == ["First", "b"]
    visible = content["runs"][0]["methods"]["visible"]
    assert visible["scores"]["overall"]["miou"] == scores[0].tables["visible"].score["miou"]
    assert visible["run"]["parameters"] == 0 and visible["run"]["commit"]
    assert content["runs"][0]["data_sha256"] == scores[0].data.sha256


def test_page_needs_no_network_and_shows_all(written):
    out, _ = written
    text = (out / "report.html").read_text()
    page = re.sub(r"data:image/jpeg;base64,[^\"]*", "", text)
    assert not re.search(r"(https?:)?//[a-z]|url\(|@import|<script", page, re.IGNORECASE)
    assert "A_1 &amp; 50% &lt;x&gt;|y" in text and "a &lt;note&gt; &amp; more" in text
    assert text.count("<table") == 2 * 5, "means, mIoU, occluded mIoU, two by level; tables are not shared"
    assert text.count("<article") == 6 + 4


def test_only_what_was_chosen_is_told():
    options = PipelineOptions(note="n", fit=FitConfig(steps=30, starts=3))
    names = {"weights": "open13", "refine": "full"}
    assert _chosen(options) == {"note": "n", **names, "fit": {**asdict(FitConfig()), "steps": 30, "starts": 3}}
    assert _chosen(PipelineOptions(gap_px=1)) == {**names, "gap_px": 1}
    assert _chosen(ConvexHullOptions(background=False)) == {"background": False}
    assert _chosen(ResultsOptions(file={"a": Path("b.json")})) == {"file": {"a": "b.json"}}


def test_results_of_another_machine_say_so(written, monkeypatch):
    _, (scores, _) = written
    own = scores.methods["hull"].record.machine
    assert own not in _ran([scores])
    monkeypatch.setattr(provenance, "machine", lambda: "another one")
    assert f" on cpu of {own}, commit " in _ran([scores])


def test_facts_tell_each_method_once_and_how_all_ran(written):
    _, (first, second) = written
    facts = facts_of([first, second], "c")
    assert [name for name, _ in facts if name.startswith("method: ")] == [f"method: {name}" for name in first.methods]
    told = dict(facts)
    assert told["method: visible"] == "a <note> & more; visible_only; depth order not given"
    assert dict(facts_of([first], "c", notes=False))["method: visible"] == "visible_only; depth order not given"
    assert told["run"].endswith("; elsewhere (First: A_1 & 50% <x>|y)")
    assert "(First: visible; First: hull; b: visible; b: hull)" in told["run"]
    assert dict(facts_of([second], "c"))["run"].startswith("1 thread(s) in 1 process(es) on cpu, commit ")
    assert "data: b" not in dict(facts_of([first], "c"))
    assert "data: b" in dict(facts_of([replace(first, aligned=second.data)], "c"))


def test_latex_by_hand():
    table = Table(
        title="50 % & more_", corner="m", columns=("a#",), rows=(("x", (1.0,)), ("mean", (2.0,))), summary=("mean",)
    )
    assert to_latex(table).splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{50 \% \& more\_}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"m & a\# \\",
        r"\midrule",
        r"x & 1.0 \\",
        r"\midrule",
        r"mean & \textbf{2.0} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_facts_of_several_lines_stay_comments():
    assert latex([], [("note", "one\ntwo  \r\nthree")]).splitlines()[0] == "% note: one two three"


def test_numbers_that_are_not_defined_are_dashes(tmp_path):
    """Where nothing is hidden there is no IoU of what is."""
    dataset = draw_data(tmp_path, images=2)
    whole = [
        replace(image, instances=tuple(replace(one, visible=one.amodal) for one in image.instances[:1]))
        for image in dataset.images
    ]
    write_coco_amodal(tmp_path / "annotations.json", replace(dataset, images=tuple(whole)))
    scores = run_benchmark(benchmark(tmp_path), tmp_path / "out")
    write_reports(tmp_path, scores, title="t", intro="", command="c")
    text = re.sub(r'base64,[^"]*', "", (tmp_path / "report.html").read_text())
    assert '<dd class="value">–</dd>' in text and ">nan" not in text and "nan to" not in text


def test_curve_by_hand():
    """Ten objects of 100 pixels, five 20 % and five 21 % hidden, and one that alone is wholly hidden."""
    counts = np.zeros((11, len(COUNTS)), np.int64)
    for i, hidden in enumerate([20] * 5 + [21] * 5 + [100]):
        counts[i, [COUNTS.index(name) for name in ("annotation_id", "category_id", "amodal", "hidden")]] = (
            i,
            1,
            100,
            hidden,
        )
    table = CompletionTable({1: "a"}, counts)
    curve = occlusion_curve(table, np.array([0.1] * 5 + [0.2, 0.4, 0.2, 0.4, 0.3] + [1.0]))
    assert curve[1:3] == pytest.approx([10, 30])
    assert np.isnan([curve[0], *curve[3:]]).all()


class Outline(HTMLParser):
    """A section's headings, tables, pictures, charts and folds in their order, and the words of each row of a table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.order: list[str] = []
        self.rows: list[list[str]] = []
        self.summary = False
        self.feed(text)

    def handle_starttag(self, tag, _):
        kinds = {"article": "case", "svg": "chart", "table": "table"}
        if tag in kinds:
            self.order.append(kinds[tag])
        self.summary = self.summary or tag == "summary"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.summary = self.summary and tag != "summary"
        if tag == "details":
            self.order.append("end of fold")

    def handle_data(self, data):
        if self.summary and data.strip():
            self.order.append(f"fold {data.strip()}")
        elif self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data.strip()


def test_pictures_come_first_then_one_table_and_the_rest_behind_folds(written):
    out, _ = written
    sections = (out / "report.html").read_text().split("<section")[1:]
    first = Outline(sections[0])
    # Six objects: two are the best, two the worst, two between them; none is left for a fold.
    assert first.order == [
        *["case"] * 6,
        "table",
        "fold By category", "table", "table", "chart", "chart", "end of fold",
        "fold By occlusion", "table", "table", "end of fold",
        "fold Means as charts", "chart", "chart", "end of fold",
    ]  # fmt: skip
    assert "Best, median and worst are by the IoU of hull." in sections[0]
    heads = [row for row in first.rows if row[0] == "method"]
    assert heads[0][1:] == ["mIoU, %", "occluded mIoU, %", "ms an object", "parameters, million"]
    assert "mIoU_full and micro mIoU are the same as mIoU here." in sections[0], "objects of equal size"
    assert "mIoU_occ is the same as occluded mIoU here." in sections[0]
    assert heads[1:] == [["method", "partial (5)", "heavy (1)"]] * 2, "5, 10, 15, 20, 25, 30 % hidden"
    assert "none (0)" not in sections[0]


def test_no_column_of_a_report_is_empty(written):
    out, _ = written
    for table in re.findall("<table>.*?</table>", (out / "report.html").read_text(), re.DOTALL):
        head, *rows = Outline(table).rows
        for column in range(1, len(head)):
            assert {row[column] for row in rows} - {"–", ""}, head[column]


@pytest.mark.parametrize(("images", "single"), [(2, "no category"), (3, "car"), (4, "")])
def test_an_interval_of_one_object_is_a_dash_with_a_note(tmp_path: Path, images: int, single: str) -> None:
    """Of two images one is a chair's and one a car's, of three two are chairs', of four two are cars', too."""
    draw_data(tmp_path, images=images)
    (scores,) = run_benchmark(benchmark(tmp_path), tmp_path / "out")
    write_reports(tmp_path, [scores], title="t", intro="", command="c")
    page = re.sub(r'base64,[^"]*', "", (tmp_path / "report.html").read_text())
    ends = RunTables(scores).interval("visible", scores.tables["visible"].metrics[0], "car")
    assert np.isnan(ends).all() == (images < 4)
    assert ("no category has more than one object: of one, an interval says nothing" in page) == (images == 2)
    assert ("<small>–</small>" in page) == (images == 2)
    assert (f"An interval of one object says nothing; {single} cannot widen" in page) == (images == 3)
    assert ("95 % interval" in page) == ("Whiskers" in page) == (images > 2)
    with (tmp_path / "scores.csv").open() as file:
        known = {row["category"] for row in csv.DictReader(file) if row["low"]}
    assert known == {2: set(), 3: {"mean", "chair"}, 4: {"mean", "chair", "car"}}[images]


def test_categories_without_objects_do_not_make_an_interval(tmp_path: Path, monkeypatch) -> None:
    draw_data(tmp_path, images=1)
    (scores,) = run_benchmark(benchmark(tmp_path), tmp_path / "out")
    monkeypatch.setattr(RunTables, "_objects", lambda *_: {"chair": 1, "lamp": 0})
    assert RunTables(scores).single_objects().startswith("– stands where no category has more than one object")


def test_one_object_is_no_objects(tmp_path: Path) -> None:
    draw_data(tmp_path, images=1)
    (scores,) = run_benchmark(benchmark(tmp_path), tmp_path / "out")
    write_reports(tmp_path, [scores], title="t", intro="", command="c")
    page = (tmp_path / "report.html").read_text()
    assert "1 object in 1 image." in page and page.count("<article") == 1 and ">Best<" in page


def test_cases_are_bounded(written):
    _, (scores, _) = written
    every = case_groups(scores)
    ious = sorted(scores.tables["hull"].iou)
    assert [(group.title, len(group.cases)) for group in every.first] == [("Best", 2), ("Median", 2), ("Worst", 2)]
    assert [case.score for group in every.first for case in group.cases] == [ious[i] for i in (5, 4, 3, 2, 0, 1)]
    assert every.more == []
    few = case_groups(scores, panels=3 * 5)
    assert [(group.title, len(group.cases)) for group in few.first] == [("Best", 1), ("Median", 1), ("Worst", 1)]
    best, median, worst = (group.cases[0].score for group in few.first)
    assert (best, worst) == (ious[-1], ious[0]) and ious[1] <= median <= ious[-2]
    assert few.more == []


@pytest.mark.parametrize("room", [3, 5, 7, 8, 9, 200])
def test_more_cases_are_others_within_the_bound(tmp_path: Path, room: int) -> None:
    """Nine objects of two categories, five images a case: none too many, none twice, and all where they fit."""
    draw_data(tmp_path, images=9)
    (scores,) = run_benchmark(benchmark(tmp_path), tmp_path / "out")
    found = case_groups(scores, panels=room * 5)
    titles = [case.title for group in (*found.first, *found.more) for case in group.cases]
    assert len(titles) == len(set(titles)) <= room
    assert (len(titles) == 9) == (room >= 9)
    assert all(group.cases for group in (*found.first, *found.more))


@pytest.mark.parametrize("size", range(8))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_best_median_and_worst_are_different_ones(size: int, count: int) -> None:
    found = best_median_worst([list(range(size))], count)
    chosen = [one for group in found.values() for one in group]
    assert len(chosen) == len(set(chosen)) and len(chosen) >= min(size, 3)
    assert all(len(group) <= count for group in found.values())
    if size >= 3:
        assert found["Best"][0] == 0 and found["Worst"][0] == size - 1
        assert abs(found["Median"][0] - (size - 1) / 2) <= count


def test_images_of_the_instance_track(written, tmp_path):
    """Each image has one object; the surest of two masks of it is its visible part, the other one the whole."""
    _, (scores, _) = written
    visible = scores.methods["visible"].results
    whole = [
        replace(one, segmentation=truth, score=0.5) for one, truth in zip(visible, _true_masks(scores), strict=True)
    ]
    detections = [one for one in [*visible, *whole] if one.annotation_id < 100]
    write_results(tmp_path / "detected.json", detections)
    methods = {"detector": {"kind": "results", "file": {"squares": str(tmp_path / "detected.json")}}}
    folder = scores.data.files.annotations.parent
    runs = [{"data": "squares", "track": "instance"}]
    (instance,) = run_benchmark(benchmark(folder, methods=methods, runs=runs), tmp_path / "out")
    found = image_groups(instance, panels=100)
    assert [(group.title, len(group.cases)) for group in found.first] == [("Best", 2), ("Median", 2), ("Worst", 2)]
    assert found.more == []
    few = image_groups(instance, panels=9)
    assert [(group.title, len(group.cases)) for group in few.first] == [("Best", 1), ("Median", 1), ("Worst", 1)]
    assert {case.caption for group in found.first for case in group.cases} == {"1 scored object · mean best IoU 100.0"}
    truth = scores.data.dataset.images[5].instances[:1]
    assert mean_best_iou(truth, [one for one in visible if one.image_id == 6]) == pytest.approx(0.70)
    assert mean_best_iou(truth, [one for one in visible if one.image_id == 5]) == 0, "another category"
    write_reports(tmp_path, [instance], title="t", intro="", command="c")
    assert "amodal AP" in (tmp_path / "report.html").read_text()


def _true_masks(scores: RunScores):
    known = {one.id: one for image in scores.data.dataset.images for one in image.instances}
    return [known[one.annotation_id].amodal or one.visible for one in scores.methods["visible"].results]


def test_charts_show_few_methods_with_their_own_colours(written):
    _, (scores, _) = written
    methods = {f"m{i:02}": replace(scores.methods["visible"]) for i in range(12)} | {"hull": scores.methods["hull"]}
    charts = RunCharts(RunTables(replace(scores, methods=methods))).by_topic()
    means, bars = charts["means"][0], charts["categories"][0]
    assert [one.name for one in means.series] == list(methods)
    assert len(bars.series) == 6 and bars.series[-1].name == "hull" and bars.series[-1].color is None
    colors = {one.name: one.color for one in means.series}
    assert all(colors[one.name] == one.color for one in bars.series)
    assert "5 best others" in bars.note
    assert len({one.color for one in bars.series}) == 6, "no colour twice where colours tell methods apart"
    assert {one.color for one in means.series} - {one.color for one in bars.series} == {REST}


@pytest.mark.slow
def test_thirteen_methods_on_the_test_split_fit_into_a_minute_and_15_mb(tmp_path, monkeypatch):
    """Masks that are off by a few pixels each, so that every method's images differ."""
    monkeypatch.chdir(ROOT)
    runs = [{"data": "scenes"}]
    data = {"scenes": {"scenes": "configs/open13/test.yaml"}}
    first = benchmark(tmp_path, data=data, methods={"hull": {"kind": "convex_hull"}}, runs=runs)
    (scores,) = run_benchmark(first, tmp_path / "first")
    methods = {}
    for shift in range(13):
        moved = [
            replace(one, segmentation=masks.encode(np.roll(masks.decode(one.segmentation), shift, axis=shift % 2)))
            for one in scores.methods["hull"].results
        ]
        file = tmp_path / f"{shift}.json"
        write_results(file, moved)
        methods[f"method {shift}"] = {"kind": "results", "file": {"scenes": str(file)}}
    thirteen = benchmark(tmp_path, data=data, methods=methods, runs=runs)
    begin = time.process_time()
    out = tmp_path / "first"
    write_reports(out, run_benchmark(thirteen, out), title="t", intro="", command="c")
    assert time.process_time() - begin < 60
    assert 1e6 < (out / "report.html").stat().st_size < 15e6
    text = (out / "report.html").read_text()
    assert text.count("<article") == 6 + 3 * 13
    assert text.count("<img") == (6 + 3 * 13) * (13 + 3)
