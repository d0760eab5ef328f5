"""A benchmark as a page of documentation: tables, margins, images beside it, and what a configuration may ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_data import benchmark, draw_data
from PIL import Image

from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.benchmarking.runner import run_benchmark
from shape3d_amodal.errors import UsageError
from shape3d_amodal.reports.benchmark.results_page import write_results_page

MARGIN = {"of": "hull", "over": ["visible"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw_data(tmp_path / "drawn")
    return tmp_path / "drawn"


def written(folder: Path, out: Path, **run: object) -> str:
    methods = {"visible": {"kind": "visible_only", "note": "a | b"}, "hull": {"kind": "convex_hull"}}
    scores = run_benchmark(
        benchmark(folder, methods=methods, runs=[{"data": "squares", "title": "Squares", **run}]), out / "run"
    )
    write_results_page(out / "docs" / "page.md", scores, title="Results", intro="An\n intro.", command="a command")
    return (out / "docs" / "page.md").read_text()


def test_a_line_a_method_with_intervals_times_and_notes(folder: Path, tmp_path: Path) -> None:
    text = written(folder, tmp_path, without=["car"], margins=[MARGIN])
    assert text.startswith("# Results\n\nAn intro.\n\n    a command\n")
    (visible,) = (line for line in text.splitlines() if line.startswith("| visible | 82.5 ("))
    assert visible.endswith("| a \\| b |")  # 82.5 is the mean of 95, 85, 75 and of 90, 80, 70
    assert "| method | mIoU, % | occluded mIoU, % | s an object | parameters, million | note |" in text
    assert " | 0 | a \\| b |" in visible
    assert "mean without car" in text
    margins = text.split("### Margins")[1].split("## How")[0]
    assert "over objects drawn" in margins and "**hull** over visible\n" in margins and "<details>" not in margins
    assert "| points | mean | mean without car | least category |" in margins
    assert "\n| mIoU | +" in margins and "\n| occluded mIoU | +" in margins
    assert "![" not in text and not (tmp_path / "docs" / "page").exists()
    assert "- commit: " in text and "- mIoU: mean over categories" in text


def test_the_best_and_the_worst_case_of_each_category(folder: Path, tmp_path: Path) -> None:
    text = written(folder, tmp_path, pictured=["visible", "hull"], focus="visible")
    assert "chair: IoU 95.0 and 75.0\n\n![chair](page/squares-chair.png)" in text
    assert "Blue is the visible part, orange the hidden part.\n" in text
    assert "car: IoU 90.0 and 70.0\n\n![car](page/squares-car.png)" in text
    files = sorted((tmp_path / "docs" / "page").iterdir())
    assert [file.name for file in files] == ["squares-car.png", "squares-chair.png"]
    with Image.open(files[1]) as grid:
        assert grid.size == (5 * 112 + 4 * 4, 2 * 112 + 4)  # image, given, two methods, truth; best above worst
        colors = np.asarray(grid.convert("RGB"))
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) > 3
    assert files[1].stat().st_size < 60_000


def test_categories_are_folded_away_and_metrics_chosen(folder: Path, tmp_path: Path) -> None:
    text = written(folder, tmp_path, margins=[{**MARGIN, "metrics": ["occluded_miou"], "by_category": True}])
    margins = text.split("### Margins")[1].split("## How")[0]
    assert "| category, points | occluded mIoU |" in margins and "| mIoU |" not in margins
    assert "\n| chair | +" in margins and "\n| car | +" in margins and margins.count("</details>") == 1


def test_meshes_are_counted_where_all_are_known(tmp_path: Path) -> None:
    """Chairs are of two meshes, cars of one; the bars in front are of none, and not scored."""
    dataset = draw_data(tmp_path / "drawn")
    names = {10: "a", 12: "a", 14: "b", 11: "c", 13: "c", 15: "c"}
    images = tuple(
        replace(image, instances=tuple(replace(one, mesh=names.get(one.id)) for one in image.instances))
        for image in dataset.images
    )
    write_coco_amodal(tmp_path / "drawn" / "annotations.json", replace(dataset, images=images))
    text = written(tmp_path / "drawn", tmp_path, margins=[{**MARGIN, "by_category": True}])
    assert "| chair (2) | 85.0 |" in text and "| car (1) | 80.0 |" in text
    assert "over meshes drawn" in text and "a single mesh (car) views are drawn" in text and "| chair (2) | +" in text
    first, *others = images
    unknown = (replace(first, instances=(replace(first.instances[0], mesh=None),)), *others)
    write_coco_amodal(tmp_path / "drawn" / "annotations.json", replace(dataset, images=unknown))
    text = written(tmp_path / "drawn", tmp_path, margins=[MARGIN])
    assert "| chair | 85.0 |" in text and "over objects drawn" in text


def test_how_long_methods_learned_stands_beside_the_note(folder: Path, tmp_path: Path) -> None:
    methods = {"visible": {"kind": "visible_only", "note": "n", "trained": "2 steps"}, "hull": {"kind": "convex_hull"}}
    (scores,) = run_benchmark(benchmark(folder, methods=methods), tmp_path / "run")
    write_results_page(tmp_path / "page.md", [scores], title="t", intro="", command="c")
    text = (tmp_path / "page.md").read_text()
    assert "| note | trained for |\n" in text and "| 0 | n | 2 steps |\n" in text and "| 0 |  |  |\n" in text
    assert "- method: visible: visible_only; depth order not given\n" in text


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"margins": [{"of": "none", "over": ["hull"]}]}, r"runs\[0\]\.margins: expected one of visible, hull"),
        ({"margins": [{"of": "hull", "over": []}]}, r"margins\.0\.over"),
        ({"margins": [{**MARGIN, "metrics": ["ap"]}]}, r"margins\.metrics: expected one of miou, occluded_miou, got"),
        ({"pictured": ["none"]}, r"runs\[0\]\.pictured: expected one of visible, hull, got 'none'"),
        ({"pictured": ["visible"]}, r"focus, which pictured must name: expected one of visible, got 'hull'"),
        ({"pictured": ["hull"], "track": "order"}, r"pictured: cases are of the track completion, got order"),
        ({"align": "squares"}, r"align: is of the track shape, got completion"),
        ({"align": "none", "track": "shape"}, r"align: expected one of squares, got 'none'"),
    ],
)
def test_what_cannot_be_is_said(folder: Path, run: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        benchmark(folder, runs=[{"data": "squares", **run}])
