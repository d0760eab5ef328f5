"""The shape track: viewpoints and meshes of results against those of scenes made from known meshes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.given_masks.azimuth import SYMMETRY, WITHIN_DEG, azimuth_error, best_offset, period
from shape3d_amodal.evaluation.given_masks.evaluator import GivenMasksEvaluator
from shape3d_amodal.evaluation.interface import scored_names
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric, by_name
from shape3d_amodal.meshes import voxels
from shape3d_amodal.meshes.mesh import Mesh, MeshFile, MeshSource, read_mesh
from shape3d_amodal.structures import AmodalDataset, AmodalInstance

log = logging.getLogger(__name__)

SHAPE = "shape: visible masks given, matched by annotation id, instances of scenes whose mesh and camera are known"
"""The protocol tag of the shape track."""

_MEANS = "mean over categories of the mean over instances of "
_TURNED = "both meshes turned by their azimuths into the camera's, their boxes centred, the longest side 1"
_MODULO = (
    "modulo the category's symmetry ("
    + ", ".join(f"{name} {f'{360 // turns}°' if turns else 'not scored'}" for name, turns in SYMMETRY.items())
    + ", others 360°)"
)
_ALIGNED = f"{_MODULO}, after one turn a category, the whole degree that makes most of these instances right"
METRICS = by_name(
    Metric(
        "azimuth_accuracy",
        f"azimuth within {WITHIN_DEG:g}°",
        f"{_MEANS}[azimuth error <= {WITHIN_DEG:g}°]; the error is {_ALIGNED}; an instance without viewpoint is wrong",
        SHAPE,
        "accuracy at π/6 of Tulsiani and Malik (CVPR 2015), of the azimuth alone; symmetry is ours, the alignment "
        "that of Insafutdinov and Dosovitskiy (NeurIPS 2018), of the azimuth alone",
    ),
    Metric(
        "held_out_azimuth_accuracy",
        f"azimuth within {WITHIN_DEG:g}°, aligned elsewhere",
        f"as azimuth_accuracy, {_MODULO}, after one turn a category that was found on other scenes",
        SHAPE,
        "our definition",
    ),
    Metric(
        "azimuth_median",
        "median azimuth error, °",
        "mean over categories of the median over instances of the azimuth error in degrees, "
        f"{_ALIGNED}; instances without viewpoint are left out",
        SHAPE,
        "median error of Tulsiani and Malik (CVPR 2015), of the azimuth alone",
        unit="degree",
        higher_is_better=False,
    ),
    Metric(
        "azimuth_error",
        "azimuth error, °",
        f"{_MEANS}the azimuth error in degrees, {_ALIGNED}; instances without viewpoint are left out",
        SHAPE,
        "our definition",
        unit="degree",
        higher_is_better=False,
    ),
    Metric(
        "voxel_iou",
        f"voxel IoU, {voxels.RESOLUTION}³",
        f"{_MEANS}IoU of solid voxels ({voxels.RESOLUTION}³: winding number, surface and shut-off cavities), {_TURNED}"
        "; 0 without a mesh",
        SHAPE,
        "3D IoU of 3D-R2N2 and NMR; theirs is in the object frame, which equals ours where cameras are known",
    ),
    Metric(
        "chamfer",
        "Chamfer × 100",
        f"100 × {_MEANS}(mean_p min_q |p - q| + mean_q min_p |p - q|) / 2, p and q over {voxels.SURFACE_POINTS} points "
        f"on each surface, {_TURNED}; instances without a mesh are left out",
        SHAPE,
        "our choice among the usual ones: unsquared, in units of the box's longest side",
        unit="1/100 of the longest side",
        higher_is_better=False,
    ),
)
"""The metrics of the shape track by their names."""

COLUMNS = ("annotation_id", "category_id", "predicted", "azimuth", "true_azimuth", "voxel_iou", "chamfer")
"""The row of an instance. Azimuths are in degrees; the predicted one is NaN without a viewpoint, and the last two are
NaN where there is no mesh to compare."""


class ShapeTable(MeanTable):
    """The scores of one method.

    Args:
        names: category names by id; those without an instance are left out.
        rows: [N,len(COLUMNS)] float64, a row for each instance.
        turns: degrees by category name that were found on other scenes; without them no held-out metric is given.

    Attributes:
        offsets: degrees, by category name, by which the predicted azimuths were turned.
    """

    def __init__(
        self, names: Mapping[int, str], rows: NDArray[np.float64], turns: Mapping[str, float] | None = None
    ) -> None:
        self.rows, self.turns = rows, turns
        categories = rows[:, 1].astype(np.int64)
        self.offsets: dict[str, float] = {}
        errors, accuracy, held_out = np.full((3, len(rows)), np.nan)
        for key, name in scored_names(names, categories.tolist()).items():
            own, period_deg = categories == key, period(name)
            if period_deg == 0:
                continue
            known = own & ~np.isnan(rows[:, 3])
            if known.any():
                self.offsets[name] = best_offset(rows[known, 3], rows[known, 4], period_deg)
                errors[known] = azimuth_error(rows[known, 3], rows[known, 4], self.offsets[name], period_deg)
            accuracy[own] = errors[own] <= WITHIN_DEG
            if turns is not None and name in turns:
                held_out[own] = azimuth_error(rows[own, 3], rows[own, 4], turns[name], period_deg) <= WITHIN_DEG
        values = {
            "azimuth_accuracy": accuracy,
            **({} if turns is None else {"held_out_azimuth_accuracy": held_out}),
            "azimuth_median": errors,
            "azimuth_error": errors,
            "voxel_iou": rows[:, 5],
            "chamfer": rows[:, 6],
        }
        metrics, missing = tuple(METRICS[name] for name in values), rows[:, 2] == 0
        super().__init__(SHAPE, metrics, names, categories, values, missing, medians=("azimuth_median",))

    def ids(self) -> NDArray[np.int64]:
        return self.rows[:, 0].astype(np.int64)

    def to_dict(self, *, samples: int = 1000, seed: int = 0) -> dict[str, Any]:
        content = {**super().to_dict(samples=samples, seed=seed), "azimuth_offsets_deg": dict(self.offsets)}
        return content if self.turns is None else {**content, "held_out_offsets_deg": dict(self.turns)}

    def _select(self, rows: NDArray[np.bool_]) -> ShapeTable:
        return ShapeTable(self.names, self.rows[rows], self.turns)


class ShapeEvaluator(GivenMasksEvaluator):
    """Azimuth, voxel IoU and Chamfer distance of the instances whose true azimuth is known.

    Args:
        dataset: the ground truth.
        meshes: source of the meshes of its instances; None scores no meshes.
        folder: folder that the mesh names of the results are relative to.
        turns: degrees by which azimuths are turned, by category name, as ``ShapeTable.offsets`` of other scenes.
    """

    row_length: ClassVar[int] = len(COLUMNS)
    dtype: ClassVar[type] = np.float64
    scorable: ClassVar[str] = (
        "viewpoints with azimuth_deg in the annotations, as those of `scenes` have, and amodal masks (`segmentation`), "
        "of objects that are neither crowds nor marked `ignore`"
    )

    def __init__(
        self,
        dataset: AmodalDataset,
        *,
        meshes: MeshSource | None = None,
        folder: Path | None = None,
        turns: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(dataset)
        self._meshes, self._folder, self._turns = meshes, folder, turns

    def evaluate(self) -> ShapeTable:
        return ShapeTable(self._dataset.category_names, self._stack(self._scored()), self._turns)

    def _is_scored(self, instance: AmodalInstance) -> bool:
        return super()._is_scored(instance) and instance.viewpoint is not None and "azimuth_deg" in instance.viewpoint

    def _add(self, result: AmodalResult) -> None:
        super()._add(result)
        number = result.annotation_id
        if number is not None and number in self._results:  # scored at once, so that an error names the result
            self._rows[number] = self._score(number, self._results.pop(number))

    def _score(self, number: int, results: Sequence[AmodalResult]) -> NDArray[np.float64]:
        _, instance = self._annotations[number]
        azimuth = _predicted_azimuth(results[0]) if results else np.nan
        quality = [np.nan if self._meshes is None else 0.0, np.nan]
        if self._meshes is not None and results and results[0].mesh is not None:
            quality = self._compare(self._meshes, instance, results[0].mesh, azimuth)
        row = [number, instance.category_id, len(results), azimuth, _true_azimuth(instance), *quality]
        return np.array([row], np.float64)

    def _compare(self, meshes: MeshSource, instance: AmodalInstance, name: str, azimuth: float) -> list[float]:
        """Voxel IoU and Chamfer distance of the predicted mesh ``name`` in its predicted ``azimuth``."""
        if np.isnan(azimuth):
            raise DataError("expected the viewpoint that the mesh is seen from, got none", field="viewpoint")
        if instance.mesh is None or instance.mesh not in meshes.names:
            raise DataError(
                f"annotation {instance.id} is of mesh {instance.mesh}, which is not among the meshes; give those that "
                "its scenes were made from",
                field="mesh",
            )
        found = _turned(_read(name, self._folder or Path()), azimuth)
        pair = found, _turned(meshes.load(instance.mesh), _true_azimuth(instance))
        grids = [voxels.voxels(verts, faces) for verts, faces in pair]
        points = [voxels.surface_points(verts, faces) for verts, faces in pair]
        return [voxels.voxel_iou(*grids), 100 * voxels.chamfer_distance(*points)]


def _true_azimuth(instance: AmodalInstance) -> float:
    assert instance.viewpoint is not None, "only instances with a known azimuth are scored"
    return instance.viewpoint["azimuth_deg"]


def _predicted_azimuth(result: AmodalResult) -> float:
    """Degrees; NaN without a viewpoint."""
    if result.viewpoint is None:
        return float("nan")
    azimuth = result.viewpoint.get("azimuth_deg")
    if not isinstance(azimuth, (int, float)):
        raise DataError("expected a number", field="viewpoint.azimuth_deg")
    return float(azimuth)


def _read(name: str, folder: Path) -> Mesh:
    """The mesh of the file ``name`` in ``folder``; the field of a ``DataError`` is the result's."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"expected the name of a file in {folder}, got {name}", field="mesh")
    if not path.exists():
        problem = f"expected the mesh {name} in {folder}, there is none; name their folder by --mesh-folder"
        raise DataError(problem, field="mesh")
    try:
        mesh = read_mesh(MeshFile("", path), name=name)
    except DataError as error:
        raise DataError(f"{error.file}: {error.problem}", field="mesh") from None
    if not voxels.face_areas(mesh.verts, mesh.faces).any():
        problem = f"{path}: expected a mesh with a surface, its faces are lines or points; repair it"
        raise DataError(problem, field="mesh")
    if mesh.notes:
        log.warning("mesh read with notes: %s: %s", path, "; ".join(mesh.notes))
    return mesh


def _turned(mesh: Mesh, azimuth_deg: float) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The mesh in the unit cube, turned about its upright axis so that the camera stands in front of it."""
    sine, cosine = np.sin(np.radians(azimuth_deg)), np.cos(np.radians(azimuth_deg))
    # At azimuth 90 degrees the camera stands on +x: that axis comes to the front, +z.
    turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    return voxels.to_unit_cube(mesh.verts @ turn.T), mesh.faces
