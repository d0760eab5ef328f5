"""Azimuths of a shape run are turned by what other scenes say, beside what its own say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from drawn_data import benchmark, draw_data

from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.results import AmodalResult, write_results
from shape3d_amodal.benchmarking.runner import run_benchmark
from shape3d_amodal.evaluation.given_masks.shape import ShapeTable
from shape3d_amodal.reports.benchmark.tables import RunTables


def seen(folder: Path, turns: tuple[float, ...]) -> None:
    """Pictures whose squares are seen from 40 degrees; ``found.json`` says 40 less each of ``turns``."""
    dataset = draw_data(folder, images=len(turns))
    images = tuple(
        replace(image, instances=(replace(image.instances[0], viewpoint={"azimuth_deg": 40.0, "elevation_deg": 0.0}),))
        for image in dataset.images
    )
    write_coco_amodal(folder / "annotations.json", replace(dataset, images=images))
    results = [
        AmodalResult(
            image_id=image.id,
            category_id=image.instances[0].category_id,
            score=1.0,
            segmentation=image.instances[0].visible,
            annotation_id=image.instances[0].id,
            visible=None,
            occluded=None,
            viewpoint={"azimuth_deg": 40.0 - turn},
            mesh=None,
        )
        for image, turn in zip(images, turns, strict=True)
    ]
    write_results(folder / "found.json", results)


def data(folder: Path) -> dict[str, str]:
    return {"annotations": str(folder / "annotations.json"), "images": str(folder / "images")}


def test_turns_of_other_scenes(tmp_path: Path) -> None:
    # Chairs (every other picture) are turned by 90 in both; the cars' turn is another one in the other scenes.
    seen(tmp_path / "a", (90, 10, 90, 10, 90, 10))
    seen(tmp_path / "b", (90, 200, 90, 200))
    file = {name: str(tmp_path / name / "found.json") for name in ("a", "b")}
    methods = {"peer": {"kind": "results", "file": file}, "blind": {"kind": "results", "file": {"a": file["a"]}}}
    config = benchmark(
        tmp_path,
        data={name: data(tmp_path / name) for name in ("a", "b")},
        methods=methods,
        runs=[{"data": "a", "track": "shape", "align": "b"}],
    )
    (scores,) = run_benchmark(config, tmp_path / "out")
    peer, blind = scores.tables["peer"], scores.tables["blind"]
    assert isinstance(peer, ShapeTable)
    assert peer.turns == {"chair": pytest.approx(90), "car": pytest.approx(200)}
    assert peer.score["azimuth_accuracy"] == 1
    own = peer.by_category()
    assert (own["chair"]["held_out_azimuth_accuracy"], own["car"]["held_out_azimuth_accuracy"]) == (1, 0)
    assert isinstance(blind, ShapeTable) and blind.turns is None
    titles = [table.title for table in RunTables(scores).categories()]
    assert titles[:2] == ["azimuth within 30°, %", "azimuth within 30°, aligned elsewhere, %"]
    assert titles[2] == "median azimuth error, °"
