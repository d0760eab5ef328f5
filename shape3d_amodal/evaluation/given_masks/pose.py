"""The pose track: poses of known CAD models, beside the masks that follow from them, also by visible fraction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError, UsageError
from shape3d_amodal.evaluation import poses
from shape3d_amodal.evaluation.given_masks.completion import COUNTS, CompletionEvaluator, CompletionTable
from shape3d_amodal.evaluation.interface import Score
from shape3d_amodal.evaluation.means import MeanTable, mean
from shape3d_amodal.evaluation.metrics import Metric, by_name
from shape3d_amodal.meshes.bop_models import model_name
from shape3d_amodal.meshes.mesh import FileMeshes
from shape3d_amodal.meshes.pose_models import PoseModel, read_pose_model
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Pose

POSE = "pose: visible masks given, matched by annotation id, instances whose pose is known; a missing pose is wrong"
"""The protocol tag of the pose track."""

_BY_CATEGORY, _BY_INSTANCE = "mean over categories of the mean over instances of ", "mean over instances of "
_IOU, _HIDDEN_IOU = "|P ∩ A| / |P ∪ A|", "|(P ∩ A) \\ V| / |(P ∪ A) \\ V| where |A \\ V| > 0"
_RIGHT = {
    "add": f"[ADD(-S) error < {poses.ADD_SHARE:g} diameters]; ADD-S for models with a symmetry, ADD for others",
    "mssd": "the share of thresholds 0.05, 0.10, ..., 0.50 diameters that MSSD is below",
    "mspd": f"the share of thresholds 5r, 10r, ..., 50r px that MSPD is below, r = image width / {poses.MSPD_WIDTH}",
}
_TITLES = {"add": "ADD(-S) recall", "mssd": "MSSD recall", "mspd": "MSPD recall"}
_SOURCES = {
    "add": "Hinterstoisser et al. (ACCV 2012), threshold 0.1 d",
    "mssd": "AR_MSSD of BOP (Hodan et al., ECCVW 2020)",
    "mspd": "AR_MSPD of BOP (Hodan et al., ECCVW 2020)",
}
_OURS = "as in the completion track, over instances whose pose is known"
_HERE = "; here a result belongs to the annotation whose id it names, and is not matched by its error"

METRICS = by_name(
    Metric("posed_miou", "mIoU", f"{_BY_CATEGORY}{_IOU}", POSE, _OURS),
    Metric("posed_occluded_miou", "occluded mIoU", f"{_BY_CATEGORY}{_HIDDEN_IOU}", POSE, _OURS),
    *(
        Metric(f"{key}_recall", _TITLES[key], _BY_CATEGORY + _RIGHT[key], POSE, f"{_SOURCES[key]}{_HERE}")
        for key in _RIGHT
    ),
    Metric(
        "rotation_median",
        "median rotation error, °",
        "mean over categories of the median over instances of the least angle in degrees to a true rotation, of which "
        "a symmetric model has several; instances without a pose are left out",
        POSE,
        "our choice",
        unit="degree",
        higher_is_better=False,
    ),
    Metric("posed_instance_miou", "mIoU_full", f"{_BY_INSTANCE}{_IOU}", POSE, _OURS),
    Metric("posed_instance_occluded_miou", "mIoU_occ", f"{_BY_INSTANCE}{_HIDDEN_IOU}", POSE, _OURS),
    *(
        Metric(
            f"instance_{key}_recall",
            f"{_TITLES[key]}, by instance",
            _BY_INSTANCE + _RIGHT[key],
            POSE,
            f"{_SOURCES[key]}, averaged as there{_HERE}",
        )
        for key in _RIGHT
    ),
)
"""The metrics of the pose track by their names."""

COLUMNS = (*COUNTS, "add", "mssd", "mspd", "rotation")
"""The row of an instance: its pixel counts; ADD or ADD-S and MSSD in diameters, and MSPD in pixels at a width of 640,
infinite without a pose; the rotation error in degrees, NaN without. MSPD is NaN where the camera is not known."""

BINS = 10
"""Levels of the visible fraction |A ∩ V| / |A|, of equal width."""


class PoseTable(MeanTable):
    """The scores of one method.

    Args:
        names: category names by id; those without an instance are left out.
        rows: [N,len(COLUMNS)] float64, a row for each instance.

    Attributes:
        visible_share: [N] float64, |A ∩ V| / |A|.
    """

    def __init__(self, names: Mapping[int, str], rows: NDArray[np.float64]) -> None:
        self.rows = rows
        own = CompletionTable(names, rows[:, : len(COUNTS)].astype(np.int64))
        self.visible_share = 1 - own.hidden_share
        add, mssd, mspd, rotation = rows[:, len(COUNTS) :].T
        values = {
            "posed_miou": own.iou,
            "posed_occluded_miou": own.occluded_iou,
            "add_recall": poses.recall(add, (poses.ADD_SHARE,)),
            "mssd_recall": poses.recall(mssd, poses.MSSD_SHARES),
            "mspd_recall": poses.recall(mspd, poses.MSPD_PIXELS),
            "rotation_median": rotation,
        }
        metrics = tuple(METRICS.values())
        super().__init__(POSE, metrics, names, own.categories, values, own.missing, medians=("rotation_median",))

    def by_level(self) -> dict[str, Score]:
        level = np.ceil(self.visible_share * BINS - 1e-9).clip(1, BINS)
        return {name: self._select(level == number).score for number, name in enumerate(_LEVELS, start=1)}

    def levels(self) -> dict[str, str]:
        return {name: f"visible share > {k / BINS:g} and <= {(k + 1) / BINS:g}" for k, name in enumerate(_LEVELS)}

    def ids(self) -> NDArray[np.int64]:
        return self.rows[:, 0].astype(np.int64)

    def _complete(self, score: Score, rows: NDArray[np.bool_]) -> Score:
        means = {name: mean(values[rows]) for name, values in self.values.items() if name not in self.medians}
        by_instance = {_by_instance(name): value for name, value in means.items()}
        posed = int((~np.isnan(self.values["rotation_median"][rows])).sum())
        return Score(counts={**score.counts, "poses": posed}, values={**score.values, **by_instance})

    def _select(self, rows: NDArray[np.bool_]) -> PoseTable:
        return PoseTable(self.names, self.rows[rows])


_LEVELS = tuple(f"{k / BINS:.1f} to {(k + 1) / BINS:.1f} visible" for k in range(BINS))


class PoseEvaluator(CompletionEvaluator):
    """Masks and poses of the instances whose pose is known.

    Args:
        dataset: the ground truth.
        meshes: source of the models. That of an instance is the mesh of its name (``AmodalInstance.mesh``), else BOP's
            file of its category id (``obj_000001.ply``), else the only mesh of its category.

    Raises:
        UsageError: no ``meshes``.
    """

    row_length: ClassVar[int] = len(COLUMNS)
    dtype: ClassVar[type] = np.float64
    scorable: ClassVar[str] = (
        "poses (`cam_R_m2c`, `cam_t_m2c`) in the annotations, as data convert --from bop writes them, and amodal masks "
        "(`segmentation`), of objects that are neither crowds nor marked `ignore`"
    )

    def __init__(self, dataset: AmodalDataset, *, meshes: FileMeshes | None) -> None:
        if meshes is None:
            problem = (
                "meshes: expected the models that the poses belong to, such as lmo/models_eval, got none; name them"
            )
            raise UsageError(problem)
        super().__init__(dataset)
        self._meshes = meshes
        self._models: dict[Path, PoseModel] = {}

    def evaluate(self) -> PoseTable:  # type: ignore[override]
        return PoseTable(self._dataset.category_names, self._stack(self._scored()))

    def _is_scored(self, instance: AmodalInstance) -> bool:
        return super()._is_scored(instance) and instance.pose is not None

    def _score(self, number: int, results: Sequence[AmodalResult]) -> NDArray[np.float64]:  # type: ignore[override]
        image, instance = self._annotations[number]
        file = self._file(instance)
        if file not in self._models:
            self._models[file] = read_pose_model(file)
        estimate = results[0].pose if results else None
        assert instance.pose is not None, "only instances with a pose are scored"
        errors = (
            [np.inf, np.inf, np.inf, np.nan]
            if estimate is None
            else _errors(estimate, instance.pose, self._models[file], image)
        )
        return np.concatenate([super()._score(number, results), [errors]], axis=1)

    def _file(self, instance: AmodalInstance) -> Path:
        """The file of an instance's model."""
        meshes, category = self._meshes, self._dataset.category_names[instance.category_id]
        bop_name = f"{model_name(instance.category_id)}.ply"
        for name in (instance.mesh, bop_name):
            if name in meshes.names:
                return meshes.path(name)
        of_category = [name for name in meshes.names if meshes.category(name) == category]
        if len(of_category) != 1:
            places = f"{instance.mesh or bop_name}, or as the only mesh of {category!r}"
            problem = f"annotation {instance.id}: expected its model as {places}, found {len(of_category)} of these"
            raise DataError(f"{problem}; give the models that the poses belong to", file=meshes.spec)
        return meshes.path(of_category[0])


def _errors(estimate: Pose, truth: Pose, model: PoseModel, image: AmodalImage) -> list[float]:
    """The last columns of an instance's row."""
    points, symmetries = model.points, model.symmetries
    distance = poses.add_s if model.is_symmetric else poses.add
    projected = np.nan
    if image.intrinsics is not None:
        projected = poses.mspd(estimate, truth, points, symmetries, image.intrinsics)
    return [
        distance(estimate, truth, points) / model.diameter,
        poses.mssd(estimate, truth, points, symmetries) / model.diameter,
        projected * poses.MSPD_WIDTH / image.width,
        poses.rotation_error(estimate, truth, symmetries),
    ]


def _by_instance(name: str) -> str:
    """The name of the mean over instances of a metric that is first averaged by category."""
    return name.replace("posed_", "posed_instance_") if name.startswith("posed_") else f"instance_{name}"
