"""A training may take the categories of its model from its annotation file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from drawn_masks import drawn_dataset
from test_annotated_stages import config_of

from shape3d_amodal.errors import UsageError
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


def test_without_a_file_it_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path / "set", drawn_dataset(), "completion2d", annotated_categories=True)
    config = replace(config, train=replace(config.train, annotations=None, images=None))
    with pytest.raises(UsageError, match=r"annotated_categories: needs train\.annotations"):
        config.task(tmp_path, workers=0)
