"""Results for KINS' own evaluation, read back by COCO's interface with KINS' files as the ground truth."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_masks import drawn_dataset
from faster_coco_eval import COCO, COCOeval_faster

from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.annotations.formats.kins import write_kins2019, write_kins2020
from shape3d_amodal.annotations.results import AmodalResult, write_results
from shape3d_amodal.cli import main
from shape3d_amodal.structures import AmodalDataset, Category

IDS = {1: 4, 2: 7}
"""Category ids of the drawn set -> those of KINS for car and van."""


def own(*names: str) -> AmodalDataset:
    return replace(drawn_dataset(), categories=tuple(Category(i, name) for i, name in enumerate(names, 1)))


def in_kins(dataset: AmodalDataset) -> AmodalDataset:
    """The same with the ids that KINS' files have; objects without a visible pixel are left out."""
    images = tuple(
        replace(
            image,
            instances=tuple(
                replace(one, category_id=IDS[one.category_id]) for one in image.instances if one.occlude_rate != 1
            ),
        )
        for image in dataset.images
    )
    return AmodalDataset(images=images, categories=(Category(4, "car"), Category(7, "van")))


def perfect(dataset: AmodalDataset) -> list[AmodalResult]:
    return [
        AmodalResult(
            image_id=image.id, category_id=one.category_id, score=0.9, segmentation=one.amodal, visible=one.visible
        )
        for image in dataset.images
        for one in image.instances
        if one.amodal is not None and one.occlude_rate != 1
    ]


def convert(folder: Path, dataset: AmodalDataset, results: list[AmodalResult], *options: str) -> int:
    write_coco_amodal(folder / "own.json", dataset)
    write_results(folder / "results.json", results)
    command = ["data", "kins", str(folder / "results.json"), "--annotations", str(folder / "own.json")]
    return main([*command, "--out", str(folder / "kins.json"), *options])


def average_precision(truth: Path, results: Path) -> float:
    known = COCO(str(truth))
    evaluation = COCOeval_faster(known, known.loadRes(str(results)), "segm", print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


@pytest.mark.parametrize("masks", ["amodal", "visible"])
@pytest.mark.parametrize("form", ["2019", "2020"])
def test_perfect_results_are_perfect_for_kins(tmp_path: Path, form: str, masks: str) -> None:
    assert convert(tmp_path, own("car", "van"), perfect(drawn_dataset()), "--form", form, "--masks", masks) == 0
    write_kins2019(tmp_path / "truth.json", in_kins(drawn_dataset()))
    truth = json.loads((tmp_path / "truth.json").read_text())
    for one in truth["annotations"]:  # KINS' evaluation of visible masks puts them in the place of the amodal ones
        one["segmentation"] = one["inmodal_seg"] if masks == "visible" else one["segmentation"]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    assert average_precision(tmp_path / "truth.json", tmp_path / "kins.json") == pytest.approx(1)


def test_keys_are_those_of_the_annotations(tmp_path: Path) -> None:
    write_kins2020(tmp_path / "t20.json", in_kins(drawn_dataset()))
    write_kins2019(tmp_path / "t19.json", in_kins(drawn_dataset()))
    for form, truth, others in (
        ("2020", "t20", {"a_area", "i_area", "oco_id", "ico_id", "id", "iscrowd"}),
        ("2019", "t19", {"area", "bbox", "id", "iscrowd"}),
    ):
        assert convert(tmp_path, own("car", "van"), perfect(drawn_dataset()), "--form", form) == 0
        made = json.loads((tmp_path / "kins.json").read_text())[0]
        annotation = json.loads((tmp_path / f"{truth}.json").read_text())["annotations"][0]
        assert made.keys() - {"score", "segmentation"} == annotation.keys() - others - {"segmentation"}
        shared = made.keys() & annotation.keys() - {"segmentation"}
        assert {key: made[key] for key in shared} == {key: annotation[key] for key in shared}


def test_what_kins_does_not_have_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = perfect(drawn_dataset())
    several = replace(results[0], chance=0.5)
    assert convert(tmp_path, own("rider", "van"), [*results, several], "--form", "2019") == 0
    vans = sum(one.category_id == 2 for one in results)
    assert f"{vans} of {len(results) + 1} results in the form of KINS 2019" in capsys.readouterr().out
    assert {one["category_id"] for one in json.loads((tmp_path / "kins.json").read_text())} == {7}
    assert convert(tmp_path, own("rider", "van"), results) == 0
    assert {one["category_id"] for one in json.loads((tmp_path / "kins.json").read_text())} == {3, 7}


@pytest.mark.parametrize(
    ("change", "names", "options", "words"),
    [
        ({"category_id": 9}, ("car", "van"), [], r"results\[0\]: category id 9 is not in the annotations"),
        ({}, ("tin", "jar"), [], r"classes of KINS 2020 \(cyclist, pedestrian, rider, .*\), got jar, tin"),
        ({}, ("rider", "rider"), ["--form", "2019"], r"KINS 2019 \(cyclist, pedestrian, car, .*\), got rider"),
        ({"visible": None}, ("car", "van"), ["--masks", "visible"], "visible_mask: expected a visible mask"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    names: tuple[str, ...],
    options: list[str],
    words: str,
) -> None:
    results = [replace(one, **change) for one in perfect(drawn_dataset())]
    assert convert(tmp_path, own(*names), results, *options) == 3
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "kins.json").exists()
