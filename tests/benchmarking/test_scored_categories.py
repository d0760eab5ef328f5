"""A benchmark may score some categories of its data; objects of the others only hide."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from drawn_masks import drawn_dataset, write_drawn

from shape3d_amodal import masks
from shape3d_amodal.benchmarking.config import load_benchmark
from shape3d_amodal.benchmarking.data import open_data
from shape3d_amodal.cli import main
from shape3d_amodal.structures import Category


def benchmark(folder: Path, categories: list[str], kind: str = "visible_only") -> Path:
    annotations = write_drawn(folder / "set", replace(drawn_dataset(), categories=(Category(1, "a"), Category(2, "b"))))
    data = {"annotations": str(annotations), "images": str(folder / "set" / "images"), "categories": categories}
    said = {"data": {"d": data}, "methods": {"m": {"kind": kind}}, "runs": [{"data": "d"}]}
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    return folder / "benchmark.yaml"


def test_objects_of_others_are_occluders(tmp_path: Path) -> None:
    data = open_data(load_benchmark(benchmark(tmp_path, ["b"])), "d", tmp_path)
    assert data.dataset.category_names == {1: "occluder", 2: "b"}
    own = drawn_dataset()
    for image, before in zip(data.dataset.images, own.images, strict=True):
        assert [one.ignore for one in image.instances] == [one.category_id == 1 for one in before.instances]
        assert [masks.area(one.visible) for one in image.instances] == [
            masks.area(one.visible) for one in before.instances
        ]


def test_they_are_not_scored(tmp_path: Path) -> None:
    """The mean of the visible masks' IoU is that of the objects of the one category."""
    assert main(["benchmark", str(benchmark(tmp_path, ["b"])), "--out", str(tmp_path / "out")]) == 0
    chosen = [one for image in drawn_dataset().images for one in image.instances if one.category_id == 2]
    shares = [masks.area(one.visible) / masks.area(one.amodal) for one in chosen if one.amodal and one.visible]
    tables = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert f"{100 * sum(shares) / len(shares):.1f}" in tables
    assert "occluder" not in tables


@pytest.mark.parametrize(
    ("categories", "words"),
    [(["car"], r"data\.d\.categories: expected categories of the data \(a, b\), got 'car'")],
)
def test_unknown_ones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], categories: list[str], words: str
) -> None:

    assert main(["benchmark", str(benchmark(tmp_path, categories)), "--out", str(tmp_path / "out")]) == 2
    assert re.search(words, capsys.readouterr().err)
