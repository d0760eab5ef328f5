"""BOP's folders of models: diameters and symmetries, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shape3d_amodal.errors import DataError
from shape3d_amodal.meshes.bop_models import ModelInfo, find_models, read_models_info

FLIP = [-1, 0, 0, 4, 0, -1, 0, 6, 0, 0, 1, 0, 0, 0, 0, 1]
"""Half a turn about the line x = 2, y = 3 along z."""
AXIS = {"axis": [0, 0, 2], "offset": [2, 3, 0]}


def read(folder: Path, **record: Any) -> ModelInfo:
    (folder / "models_info.json").write_text(json.dumps({"7": {"diameter": 10, **record}}))
    return read_models_info(folder / "models_info.json")[7]


def apply(info: ModelInfo, point: tuple[float, float, float], **options: float) -> np.ndarray:
    motions = info.motions(**options)
    return motions.rotations @ np.array(point) + motions.translations


def test_without_symmetry_nothing_moves(tmp_path: Path) -> None:
    info = read(tmp_path, symmetries_discrete=None)
    assert info.diameter == 10 and not info.is_symmetric
    np.testing.assert_array_equal(apply(info, (1, 2, 3)), [[1, 2, 3]])


def test_a_half_turn(tmp_path: Path) -> None:
    info = read(tmp_path, symmetries_discrete=[FLIP])
    assert info.is_symmetric
    np.testing.assert_array_equal(apply(info, (3, 3, 5)), [[3, 3, 5], [1, 3, 5]])


def test_turns_about_an_axis(tmp_path: Path) -> None:
    """A point 1 away from the axis goes once round it; with steps of at most a quarter in radius 1 of diameter 2."""
    info = read(tmp_path, symmetries_continuous=[AXIS])
    assert info.is_symmetric
    four = apply(info, (3, 3, 5), max_step=np.pi / 4)
    np.testing.assert_allclose(four, [[3, 3, 5], [2, 4, 5], [1, 3, 5], [2, 2, 5]], atol=1e-12)
    steps = apply(info, (3, 3, 5))
    assert len(steps) == 315  # the least number of steps of an angle of at most 0.02
    np.testing.assert_allclose(np.hypot(steps[:, 0] - 2, steps[:, 1] - 3), 1)
    assert np.linalg.norm(steps[1] - steps[0]) <= 0.02


def test_both_together(tmp_path: Path) -> None:
    over = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1]
    info = read(tmp_path, symmetries_discrete=[over], symmetries_continuous=[{"axis": [0, 0, 1], "offset": [0, 0, 0]}])
    found = apply(info, (1, 0, 2), max_step=np.pi / 2)
    np.testing.assert_allclose(found, [[1, 0, 2], [-1, 0, 2], [1, 0, -2], [-1, 0, -2]], atol=1e-12)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"diameter": None}, "7.diameter: expected a number"),
        ({"diameter": 0}, "7.diameter: expected a positive number, got 0"),
        ({"symmetries_discrete": [[1, 2]]}, r"7.symmetries_discrete\[0\]: expected 16 numbers"),
        ({"symmetries_discrete": 5}, "7.symmetries_discrete: expected a list of lists"),
        ({"symmetries_continuous": [[1]]}, "7.symmetries_continuous: expected a list of objects with axis and offset"),
        ({"symmetries_continuous": [{"axis": [0, 0, 1]}]}, r"7.symmetries_continuous\[0\].offset: expected 3 numbers"),
        (
            {"symmetries_continuous": [AXIS | {"axis": [0, 0, 0]}]},
            r"symmetries_continuous\[0\].axis: expected a direction",
        ),
        (
            {"symmetries_continuous": [AXIS | {"axis": [0, 0, True]}]},
            r"symmetries_continuous\[0\].axis: expected 3 numbers",
        ),
    ],
)
def test_other_content_is_refused(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, **record)


@pytest.mark.parametrize("content", ["[]", '{"a": {}}', '{"1": 3}'])
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "models_info.json").write_text(content)
    with pytest.raises(DataError, match="expected an object of models by number"):
        read_models_info(tmp_path / "models_info.json")


def test_the_models_of_a_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder of models"):
        find_models(tmp_path)
    (tmp_path / "models_cad").mkdir()
    (tmp_path / "models").mkdir()
    assert find_models(tmp_path) == tmp_path / "models"
