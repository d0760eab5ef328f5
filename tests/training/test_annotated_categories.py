"""A training may take the categories of its model from its annotation file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from drawn_masks import drawn_dataset
from test_annotated_stages import config_of

from shape3d_amodal.annotations.formats.coco_amodal import write_coco_amodal
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.pipeline import ShapePriorPipeline
from shape3d_amodal.structures import OCCLUDER, AmodalDataset, Category
from shape3d_amodal.training.run import run_training


def named(*names: str) -> AmodalDataset:
    return replace(drawn_dataset(), categories=tuple(Category(i, name) for i, name in enumerate(names, 1)))


def test_the_weights_know_the_names_of_the_file(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", named("tin", "jar", OCCLUDER), "completion2d", annotated_categories=True)
    config = replace(config, model=replace(config.model, categories=("something else",)))
    run_training(config, tmp_path / "out", cache=tmp_path)
    assert ShapePriorPipeline.from_pretrained(tmp_path / "out" / "weights").categories == ("tin", "jar")


def test_a_name_twice_is_one_category(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", named("tin", "tin"), "completion2d", annotated_categories=True)
    assert config.named().model.categories == ("tin",)


def test_a_file_that_names_no_objects_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", named(OCCLUDER, OCCLUDER), "completion2d", annotated_categories=True)
    with pytest.raises(DataError, match="expected categories of objects, found none but occluder"):
        config.named()


def test_a_resume_wants_the_categories_that_it_began_with(tmp_path: Path) -> None:
    """The networks know them by number: in another order of the file, or renamed, they would mean others."""
    config = config_of(tmp_path / "set", named("tin", "jar"), "completion2d", annotated_categories=True)
    run_training(config, tmp_path / "out", cache=tmp_path)
    write_coco_amodal(tmp_path / "set" / "annotations.json", named("jar", "tin"))
    with pytest.raises(UsageError, match=r"resume, model\.categories is \['tin', 'jar'\] there and \['jar', 'tin'\] n"):
        run_training(config, tmp_path / "out", cache=tmp_path)


def test_categories_that_the_annotations_do_not_have(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", named("tin", "jar"), "completion2d")
    config = replace(config, model=replace(config.model, categories=("car", "van")))
    with pytest.raises(DataError, match=r"model's categories \(car, van\), the annotations have tin, jar; set model\."):
        run_training(config, tmp_path / "out", cache=tmp_path)
    some = replace(config, model=replace(config.model, categories=("tin", "van")))
    large = replace(some.train, min_visible_px=99_999, min_side_px=7)
    with pytest.raises(DataError, match=r"99999 visible pixels and a side of 7, found none; .* 4 of them of other"):
        run_training(replace(some, train=large), tmp_path / "out", cache=tmp_path)


def test_without_a_file_it_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", drawn_dataset(), "completion2d", annotated_categories=True)
    config = replace(config, train=replace(config.train, annotations=None, images=None))
    with pytest.raises(UsageError, match=r"annotated_categories: needs train\.annotations"):
        config.task(tmp_path, workers=0)
