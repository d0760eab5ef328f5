"""What was aimed at: means, single categories and the least of them, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_data import benchmark, draw_data

from shape3d_amodal.benchmarking.config import AimConfig
from shape3d_amodal.benchmarking.runner import RunScores, run_benchmark
from shape3d_amodal.errors import UsageError
from shape3d_amodal.reports.benchmark.aims import checklist, outcomes
from shape3d_amodal.reports.benchmark.results_page import write_results_page

AIM = {"text": "A", "run": "Squares", "of": "visible", "metric": "miou", "at_least": 80}


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> list[RunScores]:
    """Visible masks: chairs 95, 85 and 75, cars 90, 80 and 70, the hull above both, and nobody above himself."""
    folder = tmp_path_factory.mktemp("aims")
    draw_data(folder)
    methods = {name: {"kind": "visible_only"} for name in ("visible", "same")} | {"hull": {"kind": "convex_hull"}}
    return run_benchmark(
        benchmark(folder, methods=methods, runs=[{"data": "squares", "title": "Squares"}]), folder / "run"
    )


@pytest.mark.parametrize(
    ("changes", "points", "label"),
    [
        ({}, 82.5, "mean"),
        ({"categories": ("chair",)}, 85, "mean"),
        ({"least": True}, 80, "car"),
        ({"least": True, "categories": ("chair",)}, 85, "chair"),
        ({"over": ("same",)}, 0, "mean"),
    ],
)
def test_what_is_measured(scores: list[RunScores], changes: dict[str, object], points: float, label: str) -> None:
    for at_least, met in ((points, True), (points + 0.1, False)):
        (one,) = outcomes([AimConfig(**{**AIM, **changes, "at_least": at_least})], scores)
        assert one.found is not None and one.found.points == pytest.approx(points) and one.found.label == label
        assert one.met is met


def test_the_checklist(scores: list[RunScores], tmp_path: Path) -> None:
    aims = [
        AimConfig(**{**AIM, "text": "alone", "least": True}),
        AimConfig(**{**AIM, "text": "ahead", "over": ("same", "hull"), "at_least": 3.6}),
        AimConfig(**{**AIM, "text": "as good", "over": ("same",), "at_least": 0}),
    ]
    head, _, alone, ahead, equal = checklist(outcomes(aims, scores)).splitlines()
    assert head == "| aim | at least | measured |  |"
    assert alone == "| alone | 80.0 | 80.0 (70.0 to 90.0), in car | met |"
    assert ahead.startswith("| ahead | +3.6 | -") and ahead.endswith("), over hull | **missed** |")
    assert equal == "| as good | +0.0 | +0.0 (0.0 to 0.0) | met |"
    write_results_page(tmp_path / "page.md", scores, title="t", intro="i", command="c", aims=aims)
    text = (tmp_path / "page.md").read_text()
    assert text.index("## What was aimed at\n\nPercent") < text.index("\n\n| aim |") < text.index("## Squares")


def test_a_category_that_is_not_there(scores: list[RunScores]) -> None:
    with pytest.raises(UsageError, match="aims: A: expected one of chair, car, got 'boat'"):
        outcomes([AimConfig(**{**AIM, "categories": ("boat",)})], scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": "Circles"}, r"aims\[0\]\.run: expected one of squares, got 'Circles'"),
        ({"of": "none"}, r"aims\[0\]: expected one of visible, hull, got 'none'"),
        ({"over": ["none"]}, r"aims\[0\]: expected one of visible, hull, got 'none'"),
        ({"metric": "ap"}, r"aims\[0\]\.metric: expected one of miou, occluded_miou, got 'ap'"),
    ],
)
def test_mistakes(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        benchmark(tmp_path, aims=[{**AIM, "run": "squares", **changes}])
