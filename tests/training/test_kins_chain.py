"""From KINS' files to results for KINS' own evaluation: our stages learn its classes, complete, predict, and export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_masks import drawn_dataset, write_drawn
from faster_coco_eval import COCO
from rcnn_small import small_config, small_rcnn
from test_annotated_stages import config_of

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.kins import write_kins2020
from shape3d_amodal.annotations.results import read_results
from shape3d_amodal.cli import main
from shape3d_amodal.config import dump_config
from shape3d_amodal.files.weights import save_weights
from shape3d_amodal.structures import AmodalDataset, Category
from shape3d_amodal.training.run import run_training

CLASSES = ("cyclist", "pedestrian", "car", "tram", "truck", "van", "misc")
IDS = {"cyclist": 1, "pedestrian": 2, "rider": 3, "car": 4, "tram": 5, "truck": 6, "van": 7, "misc": 8}
SHOWN = ("rider", "truck", "cyclist")
"""What the first, second and third object of each picture is; nothing learns riders, which only hide others."""


@pytest.fixture(scope="module")
def kins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn pictures in KINS' form of 2020, and weights of all stages that have learned them."""
    root = tmp_path_factory.mktemp("kins")
    images = tuple(
        replace(
            image,
            id=100 * image.id + 7,
            instances=tuple(
                replace(one, category_id=IDS[name]) for one, name in zip(image.instances, SHOWN, strict=True)
            ),
        )
        for image in drawn_dataset().images
    )
    categories = tuple(Category(number, name) for name, number in IDS.items())
    dataset = AmodalDataset(images=images, categories=categories)
    write_drawn(root / "set", dataset)
    write_kins2020(root / "set" / "update_test_2020.json", dataset)
    config = config_of(root / "unused", dataset, "end_to_end")
    config = replace(config, model=replace(config.model, categories=CLASSES))
    crops = replace(
        config.train, annotations=str(root / "set" / "update_test_2020.json"), images=str(root / "set" / "images")
    )
    run_training(replace(config, train=crops, validation=crops), root / "out", cache=root)
    return root


def exported(kins: Path, results: Path, *options: str) -> list[dict]:
    out = results.with_name("kins.json")
    annotations = str(kins / "set" / "update_test_2020.json")
    assert main(["data", "kins", str(results), "--annotations", annotations, "--out", str(out), *options]) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize("form", ["2019", "2020"])
def test_what_is_completed_is_exported(kins: Path, tmp_path: Path, form: str) -> None:
    annotations, results = kins / "set" / "update_test_2020.json", tmp_path / "results.json"
    command = ["complete", "--images", str(kins / "set" / "images"), "--annotations", str(annotations)]
    assert main([*command, "--weights", str(kins / "out" / "weights"), "--out", str(results)]) == 0
    truth = json.loads(annotations.read_text())["annotations"]
    seen = [one for one in truth if one["category_id"] != IDS["rider"] and area(one["i_segm"]) > 0]
    found = exported(kins, results, "--form", form)
    assert sorted(map(key, found)) == sorted(map(key, seen)) and len(found) == 7
    visible = "inmodal_seg" if form == "2019" else "i_segm"
    for one in found:
        assert area(one["segmentation"]) >= area(one[visible]) > 0
    masks_given = {(*key(one), json.dumps(one["i_segm"])) for one in seen}
    assert {(*key(one), json.dumps(one[visible])) for one in found} == masks_given
    COCO(str(annotations)).loadRes(str(tmp_path / "kins.json"))


def test_what_is_predicted_is_exported(kins: Path, tmp_path: Path) -> None:
    """A detector of random weights that knows KINS' classes and riders, in an order of its own."""
    names = ("van", "rider", "cyclist")
    config = small_config(masks="both")
    model = small_rcnn(masks="both")
    config = replace(config, detector=replace(config.detector, categories=names))
    with torch.no_grad():
        model.box_predictor.cls_score.bias.copy_(torch.tensor([1.0, 1.0, 1.0, 0.0]))
        for branch in model.mask_head.branches.values():
            branch.predictor.bias.fill_(1.0)
    save_weights(tmp_path / "detector", dump_config(config), model.state_dict())
    annotations = kins / "set" / "update_test_2020.json"
    command = ["predict", str(kins / "set" / "images"), "--annotations", str(annotations), "--no-drawings"]
    weights = ["--detector", str(tmp_path / "detector"), "--weights", str(kins / "out" / "weights")]
    options = ["--min-score", "0.02", "--alternatives", "--out", str(tmp_path / "found")]
    assert main([*command, *weights, *options]) == 0
    results = read_results(tmp_path / "found" / "results.json")
    found = exported(kins, tmp_path / "found" / "results.json")
    assert sorted(map(key, found)) == sorted((one.image_id, one.category_id) for one in results)
    ids = {image["id"] for image in json.loads(annotations.read_text())["images"]}
    assert {one["image_id"] for one in found} <= ids and len(found) > 3
    assert {one["category_id"] for one in found} <= {IDS[name] for name in names}
    riders = sum(one["category_id"] == IDS["rider"] for one in found)
    assert len(exported(kins, tmp_path / "found" / "results.json", "--form", "2019")) == len(found) - riders
    COCO(str(annotations)).loadRes(str(tmp_path / "found" / "kins.json"))


def key(record: dict) -> tuple[int, int]:
    return record["image_id"], record["category_id"]


def area(code: dict) -> int:
    mask = masks.from_annotation(code, *code["size"], file=None, field="mask")
    return int(np.count_nonzero(masks.decode(mask)))
