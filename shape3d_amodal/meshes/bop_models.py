"""Folders of BOP's models: a file for each object, and ``models_info.json`` with diameters and symmetries.

    {"1": {"diameter": number, "symmetries_discrete"?: [16 numbers of a 4 x 4 matrix, row by row],
           "symmetries_continuous"?: [{"axis": 3 numbers, "offset": 3 numbers of a point on the axis}]}}

Everything is in the coordinates of the models' own files, in millimetres in BOP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.array_fields import ArrayFields
from shape3d_amodal.errors import DataError
from shape3d_amodal.files import safe_io
from shape3d_amodal.meshes.parsers import read_mesh_file
from shape3d_amodal.meshes.symmetries import Motions, turn

MODELS_INFO = "models_info.json"
MODEL_FOLDERS = ("models_eval", "models", "models_cad")
"""Names of the folders of a data set that hold models, the one whose vertices lie most evenly first."""
MAX_STEP = 0.01
"""How far the point of a model farthest from an axis travels from one turn about it to the next, at most, as a share of
the diameter: BOP's ``max_sym_disc_step``."""


@dataclass(frozen=True, eq=False, repr=False)
class ModelInfo(ArrayFields):
    """What is known of one model.

    Attributes:
        diameter: the largest distance of two of its points.
        discrete: [N,4,4] float64, motions after which it looks the same, without the one that moves nothing.
        axes: [M,3] float64, unit vectors about which every turn leaves it as it looks.
        offsets: [M,3] float64, a point on each of these axes.
    """

    diameter: float
    discrete: NDArray[np.float64]
    axes: NDArray[np.float64]
    offsets: NDArray[np.float64]

    @property
    def is_symmetric(self) -> bool:
        return len(self.discrete) + len(self.axes) > 0

    def motions(self, max_step: float = MAX_STEP) -> Motions:
        """All its symmetries, the one that moves nothing first; turns about an axis in equal steps, as BOP takes them.

        Args:
            max_step: the largest way between two turns of the point farthest from the axis, as a share of the diameter.
        """
        whole = np.concatenate([np.eye(4)[None], self.discrete])
        turns = [
            one for axis, point in zip(self.axes, self.offsets, strict=True) for one in _turns(axis, point, max_step)
        ]
        if turns:
            whole = np.concatenate([turns @ motion for motion in whole])
        return Motions(whole[:, :3, :3], whole[:, :3, 3])


def read_models_info(path: str | Path) -> dict[int, ModelInfo]:
    """The models by their numbers, from the file ``path``.

    Raises:
        DataError: it cannot be read, or has other content; the field is named, e.g. ``3.diameter``.
    """
    content = safe_io.read_json(path)
    if type(content) is not dict or not all(key.isdecimal() and type(value) is dict for key, value in content.items()):
        raise DataError('expected an object of models by number, {"1": {"diameter": ...}}, got other JSON', file=path)
    return {int(key): _model_info(value, path, key) for key, value in content.items()}


def model_name(number: int) -> str:
    """The name of an object, from its number: ``obj_000001``."""
    return f"obj_{number:06d}"


def find_models(data_set: Path) -> Path:
    """The folder of the models of a data set: the first of ``MODEL_FOLDERS`` in it.

    Raises:
        DataError: there is none.
    """
    for name in MODEL_FOLDERS:
        if (data_set / name).is_dir():
            return data_set / name
    problem = f"expected a folder of models ({', '.join(MODEL_FOLDERS)}), found none; name it by --models"
    raise DataError(problem, file=data_set)


def read_model(folder: Path, number: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Vertices [V,3] of an object's model in the coordinates of its file, and faces [F,3].

    Raises:
        DataError: there is no such file, or it cannot be used.
    """
    data = read_mesh_file(folder / f"{model_name(number)}.ply")
    return data.verts, data.faces.astype(np.int32)


def _model_info(record: dict[str, Any], file: str | Path, key: str) -> ModelInfo:
    (diameter,) = _numbers([record.get("diameter")], 1, file, f"{key}.diameter")
    if diameter <= 0:
        raise DataError(f"expected a positive number, got {diameter}", file=file, field=f"{key}.diameter")
    listed = {name: record.get(f"symmetries_{name}") or [] for name in ("discrete", "continuous")}
    for name, values in listed.items():
        if type(values) is not list or (name == "continuous" and not all(type(one) is dict for one in values)):
            what = "of lists" if name == "discrete" else "of objects with axis and offset"
            raise DataError(f"expected a list {what}, got other JSON", file=file, field=f"{key}.symmetries_{name}")
    place = f"{key}.symmetries_discrete"
    discrete = [_numbers(one, 16, file, f"{place}[{i}]") for i, one in enumerate(listed["discrete"])]
    place = f"{key}.symmetries_continuous"
    axes, offsets = (
        [_numbers(one.get(name), 3, file, f"{place}[{i}].{name}") for i, one in enumerate(listed["continuous"])]
        for name in ("axis", "offset")
    )
    for i, axis in enumerate(axes):
        if not math.hypot(*axis) > 0:
            raise DataError("expected a direction, got zeros", file=file, field=f"{place}[{i}].axis")
    units = np.array([np.array(axis) / math.hypot(*axis) for axis in axes]).reshape(-1, 3)
    return ModelInfo(diameter, np.array(discrete).reshape(-1, 4, 4), units, np.array(offsets).reshape(-1, 3))


def _numbers(values: Any, count: int, file: str | Path, field: str) -> list[float]:
    if type(values) is not list or len(values) != count or not all(type(one) in (int, float) for one in values):
        raise DataError(
            f"expected {f'{count} numbers' if count > 1 else 'a number'}, got other JSON", file=file, field=field
        )
    return [float(one) for one in values]


def _turns(axis: NDArray[np.float64], point: NDArray[np.float64], max_step: float) -> list[NDArray[np.float64]]:
    """Turns [4,4] about an axis through ``point``, by equal angles that go once round, the one by 0 first."""
    count = math.ceil(math.pi / max_step)  # half the diameter is the largest radius
    turns = []
    for k in range(count):
        motion = np.eye(4)
        motion[:3, :3] = turn(axis, 2 * math.pi / count * k)
        motion[:3, 3] = point - motion[:3, :3] @ point
        turns.append(motion)
    return turns
