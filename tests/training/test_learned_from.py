"""Which annotated objects trainings learn from: all but crowds. What is not scored is learned from, as is stuff."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_masks import drawn_dataset, write_drawn

from shape3d_amodal.annotations.formats.cocoa import write_cocoa
from shape3d_amodal.crops.annotated.cutting import AnnotatedCrops
from shape3d_amodal.crops.config import CropsConfig
from shape3d_amodal.segmentation.mapper import image_targets
from shape3d_amodal.structures import AmodalDataset
from shape3d_amodal.training.tasks.pcnet_m import open_masks
from shape3d_amodal.training.tasks.vrsp_shapes import amodal_masks

FLAGS = ({}, {"ignore": True}, {"is_stuff": True}, {"ignore": True, "crowd": True})
LEARNED = [1, 11, 21]
"""Ids of the objects that are no crowds, one an image."""


@pytest.fixture
def dataset() -> AmodalDataset:
    plain = drawn_dataset(images=len(FLAGS), objects=1)
    images = (
        replace(image, instances=(replace(image.instances[0], **flags),))
        for image, flags in zip(plain.images, FLAGS, strict=True)
    )
    return replace(plain, images=tuple(images))


def test_stages_learn_from_all_but_crowds(dataset: AmodalDataset, tmp_path: Path) -> None:
    config = CropsConfig(annotations=str(write_drawn(tmp_path, dataset)), images=str(tmp_path / "images"))
    crops = AnnotatedCrops(config, ("chair", "car"))
    assert crops.ids(np.arange(len(crops.category))) == [f"annotation {one}" for one in LEARNED]


def test_rcnn_systems_learn_from_all_but_crowds(dataset: AmodalDataset) -> None:
    found = [image_targets(image, {1: 0, 2: 1}, 48, 48).annotation.tolist() for image in dataset.images]
    assert found == [[1], [11], [21], []]


def test_shape_memories_learn_from_all_but_crowds(dataset: AmodalDataset) -> None:
    assert [one.annotation for one in amodal_masks(dataset, ("chair", "car"))] == LEARNED


def test_pcnet_m_learns_from_all_but_crowds(dataset: AmodalDataset, tmp_path: Path) -> None:
    config = CropsConfig(annotations=str(write_drawn(tmp_path, dataset)), images=str(tmp_path / "images"))
    assert open_masks(config, tmp_path, workers=0).keys == LEARNED


def test_stuff_of_cocoa_is_learned_from_unless_it_is_called_occluder(dataset: AmodalDataset, tmp_path: Path) -> None:
    write_drawn(tmp_path, dataset)
    file = tmp_path / "cocoa.json"
    write_cocoa(file, dataset)
    config = CropsConfig(annotations=str(file), images=str(tmp_path / "images"))
    assert len(AnnotatedCrops(config, ("chair", "car")).category) == len(FLAGS)  # crowds are lost in this format
    document = json.loads(file.read_text())
    (stuff,) = (one for image in document["annotations"] for one in image["regions"] if one["isStuff"])
    stuff["name"] = "occluder"
    file.write_text(json.dumps(document))
    assert len(AnnotatedCrops(config, ("chair", "car")).category) == len(FLAGS) - 1
