"""A bank of known shapes as a method of a benchmark: what it is told of the shapes, and the control with wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from dresser import PICTURE, RECORD

from shape3d_amodal.benchmarking.methods import BankOptions, method_options
from shape3d_amodal.errors import UsageError

NAMES = {1: "dresser", 2: "occluder"}


def options(meshes: Path, **changes: object) -> BankOptions:
    made = method_options({"kind": "bank", "meshes": str(meshes), "fit_steps": 0, **changes}, source="methods.bank")
    assert isinstance(made, BankOptions)
    return made


def mesh_of(method: object, folder: Path) -> str:
    """The mesh of the dresser, as a method writes it."""
    method.meshes = folder  # type: ignore[attr-defined]
    folder.mkdir()
    first = method.complete(PICTURE, RECORD)[0]  # type: ignore[attr-defined]
    assert first.category_id == 1
    return (folder / "3_1.obj").read_text()


def test_objects_that_are_taken_for_others_get_the_shapes_of_these(box_folder: Path, tmp_path: Path) -> None:
    """The results keep the category of the data."""
    own = options(box_folder).build(NAMES, "cpu")
    swapped = options(box_folder, taken_for={"dresser": "lamp", "lamp": "dresser"}).build(NAMES, "cpu")
    lamp = options(box_folder).build({1: "lamp", 2: "occluder"}, "cpu")
    found = [mesh_of(method, tmp_path / str(i)) for i, method in enumerate((own, swapped, lamp))]
    assert found[1] == found[2] != found[0]


def test_categories_that_nothing_can_be_taken_for(box_folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        options(box_folder, taken_for={"dreser": "lamp"}).build(NAMES, "cpu")
    assert str(caught.value) == "taken_for: expected categories of the data (dresser, occluder), got 'dreser'"
    with pytest.raises(UsageError, match="unknown category 'lampp'"):
        options(box_folder, taken_for={"dresser": "lampp"}).build(NAMES, "cpu")


def test_answers_stand_beside_the_mask(box_folder: Path) -> None:
    found = options(box_folder, hypotheses=3).build(NAMES, "cpu").complete(PICTURE, RECORD)
    assert {one.annotation_id for one in found} == {1}
    assert [one.chance is None for one in found] == [True, *[False] * (len(found) - 1)]
    assert 2 <= len(found) <= 4
    (alone,) = options(box_folder).build(NAMES, "cpu").complete(PICTURE, RECORD)
    assert alone == found[0]


def test_what_is_known_of_the_shapes_reaches_the_bank(box_folder: Path) -> None:
    for changes, expected in (
        ({}, ("upright", False, 0, 30)),
        ({"views": "all", "exact_shapes": True, "hypotheses": 2, "fit_steps": 7}, ("all", True, 2, 7)),
    ):
        made = options(box_folder, **{"fit_steps": None, **changes}).build(NAMES, "cpu")
        config = made._pipeline.priors["bank"].config  # type: ignore[attr-defined]
        assert (config.search.views, config.exact, config.hypotheses, config.fit_steps) == expected


@pytest.mark.parametrize("changes", [{"views": "side"}, {"hypotheses": -1}, {"exact_shapes": "sometimes"}])
def test_wrong_options_are_named(box_folder: Path, changes: dict[str, object]) -> None:
    (name,) = changes
    with pytest.raises(UsageError, match=rf"methods\.bank: {name}: "):
        options(box_folder, **changes)
