from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from pycocotools.cocoeval import Params

from shape3d_amodal.evaluation.given_masks import pose, shape
from shape3d_amodal.evaluation.instance.metrics import SUBSETS
from shape3d_amodal.evaluation.tracks import TRACKS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "metrics.md"


def test_the_document_holds_the_definitions():
    """``python scripts/write_metrics.py`` writes them anew."""
    definitions = runpy.run_path(str(ROOT / "scripts" / "write_metrics.py"))["definitions"]
    section = DOCUMENT.read_text(encoding="utf-8").partition("<!-- definitions:begin -->\n")[2]
    assert section.partition("<!-- definitions:end -->")[0] == definitions()


@pytest.mark.parametrize("name", TRACKS)
def test_every_metric_has_a_name_a_formula_and_a_protocol(name):
    track = TRACKS[name]
    assert set(track.by_category + track.by_level) <= set(track.metrics)
    assert track.protocol.startswith(f"{name}: ")
    for key, metric in track.metrics.items():
        assert metric.name == key and metric.protocol == track.protocol
        assert metric.title and metric.formula and metric.source


def test_no_two_tracks_share_a_name():
    names = [metric for track in TRACKS.values() for metric in track.metrics]
    assert len(set(names)) == len(names)


def test_the_sizes_are_cocos() -> None:
    """As COCOeval's own parameters have them."""
    params = Params("segm")
    for name, (low, high) in zip(params.areaRngLbl, params.areaRng, strict=True):
        found = SUBSETS[name]
        assert (found.measure, found.low, found.high) == ("area", low, high)


def test_of_errors_and_distances_the_lowest_is_the_best() -> None:
    every = {**shape.METRICS, **pose.METRICS}
    lower = {name for name, metric in every.items() if not metric.higher_is_better}
    assert lower == {"azimuth_median", "azimuth_error", "chamfer", "rotation_median"}
