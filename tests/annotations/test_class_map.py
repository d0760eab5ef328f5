"""Free-text names mapped to classes."""

from __future__ import annotations

import json
from pathlib import Path

import annotated
import pytest

from shape3d_amodal.annotations.class_map import ClassMap, map_classes
from shape3d_amodal.annotations.formats.registry import read_dataset
from shape3d_amodal.cli import main
from shape3d_amodal.config import parse_config
from shape3d_amodal.errors import UsageError
from shape3d_amodal.structures import AmodalDataset, Category

CARS = """
classes:
  - {id: 3, name: car, names: [Old  Car]}
  - {id: 4, name: a car}
"""


@pytest.fixture
def dataset(tmp_path: Path) -> AmodalDataset:
    (tmp_path / "cocoa.json").write_text(json.dumps(annotated.cocoa()))
    return read_dataset(tmp_path / "cocoa.json")


def test_names_become_classes_and_the_rest_is_left_out(dataset: AmodalDataset) -> None:
    mapped, without = map_classes(dataset, parse_config(CARS, ClassMap))
    assert mapped.categories == (Category(3, "car"), Category(4, "a car"))
    assert [(one.id, one.category_id) for one in mapped.images[0].instances] == [(1, 3), (2, 4)]
    assert mapped.images[0].depth_constraint == ((1, 2),)
    assert without == {"sky": 1}


def test_the_rest_may_stay_as_occluders(dataset: AmodalDataset) -> None:
    mapped, without = map_classes(dataset, parse_config(CARS + "others: occluder", ClassMap))
    assert mapped.categories[-1] == Category(5, "occluder")
    assert [(one.category_id, one.ignore) for one in mapped.images[0].instances] == [(3, False), (4, False), (5, True)]
    assert without == {"sky": 1}


def test_pairs_of_what_is_left_out_go_with_it(dataset: AmodalDataset) -> None:
    mapped, _ = map_classes(dataset, parse_config("classes: [{id: 1, name: a car}]", ClassMap))
    assert [one.id for one in mapped.images[0].instances] == [2]
    assert mapped.images[0].depth_constraint == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("classes: [{id: 1, name: car}, {id: 2, name: van, names: [CAR]}]", "'car' stands in 'car' and in 'van'"),
        ("classes: [{id: 1, name: car}, {id: 1, name: van}]", "id 1 stands in two classes"),
    ],
)
def test_contradictions(text: str, part: str, dataset: AmodalDataset) -> None:
    with pytest.raises(UsageError, match=part):
        map_classes(dataset, parse_config(text, ClassMap))


@pytest.mark.usefixtures("dataset")
def test_convert_tells_the_names_without_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "classes.yaml").write_text(CARS)
    arguments = ["data", "convert", str(tmp_path / "cocoa.json"), "--to", "d2sa", "--out", str(tmp_path / "d2sa.json")]
    assert main([*arguments, "--classes", str(tmp_path / "classes.yaml")]) == 0
    assert "no class: sky, 1 object" in capsys.readouterr().out.splitlines()
    assert read_dataset(tmp_path / "d2sa.json").category_names == {3: "car", 4: "a car"}
    (tmp_path / "classes.yaml").write_text("classes: 3")
    assert main([*arguments, "--classes", str(tmp_path / "classes.yaml")]) == 2
