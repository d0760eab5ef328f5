"""Sets of any categories train and are completed: many, one, ids with gaps, a class without objects, any object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_masks import drawn_dataset, write_drawn
from test_annotated_stages import STAGES, config_of
from tiny import tiny_config

from shape3d_amodal.annotations.results import read_results
from shape3d_amodal.cli import main
from shape3d_amodal.crops.annotated.cutting import category_index
from shape3d_amodal.methods.completion import PipelineMethod
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.structures import AmodalDataset, Category
from shape3d_amodal.training.run import run_training


def renamed(kind: str) -> AmodalDataset:
    """The drawn set, whose objects are of two categories, with others."""
    drawn = drawn_dataset()
    many = tuple(Category(i, f"thing {i}") for i in range(1, 92))
    categories, ids = {
        "91 categories": (many, {1: 3, 2: 90}),
        "one category": ((Category(1, "thing"),), {1: 1, 2: 1}),
        "ids with gaps": ((Category(7, "a"), Category(4000, "b")), {1: 4000, 2: 7}),
        "a class without objects": ((Category(1, "a"), Category(2, "b"), Category(3, "none")), {1: 1, 2: 2}),
    }[kind]
    images = tuple(
        replace(image, instances=tuple(replace(one, category_id=ids[one.category_id]) for one in image.instances))
        for image in drawn.images
    )
    return AmodalDataset(images=images, categories=categories)


def completed(weights: Path, folder: Path, out: Path) -> list:
    command = ["complete", "--images", str(folder / "images"), "--annotations", str(folder / "annotations.json")]
    assert main([*command, "--weights", str(weights), "--out", str(out)]) == 0
    return read_results(out)


@pytest.mark.parametrize("kind", ["91 categories", "one category", "ids with gaps", "a class without objects"])
def test_a_set_trains_and_is_completed(kind: str, tmp_path: Path) -> None:
    dataset = renamed(kind)
    config = config_of(tmp_path / "set", dataset, "end_to_end")
    assert len(config.model.categories) == len(dataset.categories)
    run_training(config, tmp_path / "out", cache=tmp_path)
    results = completed(tmp_path / "out" / "weights", tmp_path / "set", tmp_path / "results.json")
    own = {one.id: one.category_id for image in dataset.images for one in image.instances}
    assert len(results) >= 8 and all(own[one.annotation_id] == one.category_id for one in results)


@pytest.mark.parametrize("stage", [*(one for one in STAGES if one != "end_to_end"), "unet2d"])
def test_one_category_trains_every_stage(stage: str, tmp_path: Path) -> None:
    config = config_of(
        tmp_path / "set", renamed("one category"), "completion2d" if stage == "unet2d" else stage, balance=0.5
    )
    if stage == "unet2d":
        config = replace(config, model=replace(config.model, refinement=replace(tiny_config().refinement, priors=())))
    result = run_training(config, tmp_path / "out", cache=tmp_path)
    assert result.metrics and np.isfinite(list(result.metrics.values())).all()
    assert completed(tmp_path / "out" / "weights", tmp_path / "set", tmp_path / "results.json")


def test_anything_takes_what_has_no_name(tmp_path: Path) -> None:
    """Trained with chairs and anything, a car and a dog are completed as anything, each under its own name."""
    dataset = drawn_dataset()
    config = config_of(tmp_path / "set", dataset, "end_to_end")
    config = replace(config, model=replace(config.model, categories=("chair", "anything")))
    run_training(config, tmp_path / "out", cache=tmp_path)
    weights = tmp_path / "out" / "weights"
    renamed = replace(dataset, categories=(Category(1, "dog"), Category(2, "car"), Category(3, "occluder")))
    first = renamed.images[0]
    hiding = replace(first.instances[0], category_id=3)
    renamed = replace(renamed, images=(replace(first, instances=(hiding, *first.instances[1:])), *renamed.images[1:]))
    write_drawn(tmp_path / "other", renamed)
    results = completed(weights, tmp_path / "other", tmp_path / "results.json")
    assert {one.category_id for one in results} == {1, 2}
    assert hiding.id not in {one.annotation_id for one in results}
    assert "unknown category" not in "".join(path.read_text() for path in tmp_path.glob("*.skipped.json"))

    pipeline = ShapePriorPipeline.from_pretrained(weights)
    PipelineMethod(pipeline, {1: "dog", 2: "chair"})  # knows what to do with both
    image, mask = np.zeros((48, 48, 3), np.uint8), np.zeros((48, 48), bool)
    mask[10:30, 10:30] = True
    as_dog, as_car, as_chair = (pipeline.complete(image, [mask], [name])[0] for name in ("dog", "car", "chair"))
    assert (as_dog.category, as_car.category) == ("dog", "car")
    np.testing.assert_array_equal(as_dog.verts, as_car.verts)
    assert not np.array_equal(as_dog.verts, as_chair.verts)


def test_which_categories_are_learned() -> None:
    names = {5: "car", 9: "dog", 2: "occluder"}
    assert category_index(names, ("car",)) == {5: 0}
    assert category_index(names, ("anything", "car")) == {5: 1, 9: 0}
    assert category_index(names, None) == {5: 0, 9: 0}


def test_traits_of_categories_that_the_annotations_name(tmp_path: Path) -> None:
    dataset = renamed("ids with gaps")
    config = config_of(tmp_path / "set", dataset, "prior", annotated_categories=True)
    told = replace(tiny_config(), parents={"a": "thing", "b": "thing"}, asymmetric=("b",))
    run_training(replace(config, model=told), tmp_path / "out", cache=tmp_path)
    pipeline = ShapePriorPipeline.from_pretrained(tmp_path / "out" / "weights")
    assert pipeline.categories == ("a", "b") and len(pipeline.model.prior.decoder.templates) == 1
