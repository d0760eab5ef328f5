"""The tracks by name: the evaluator of each, and which of its metrics reports show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shape3d_amodal.evaluation.given_masks import completion, multimodal, order, pose, shape
from shape3d_amodal.evaluation.instance import evaluator as instance
from shape3d_amodal.evaluation.instance import metrics as instance_metrics
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.meshes.mesh import FileMeshes
from shape3d_amodal.structures import AmodalDataset


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """Options of single tracks; the others ignore them.

    Attributes:
        boundary: completion: also compute boundary IoU.
        class_agnostic: instance: give all objects the same category.
        meshes: shape: source of the meshes of the scenes; None scores viewpoints alone. pose: source of the models that
            the poses belong to, which must be given.
        folder: shape: folder that the mesh names of results are relative to.
        turns: shape: degrees by which azimuths are turned, by category name, found on other scenes.
    """

    boundary: bool = False
    class_agnostic: bool = False
    meshes: FileMeshes | None = None
    folder: Path | None = None
    turns: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Track:
    """One way to score results.

    Attributes:
        protocol: tag of its numbers; only numbers of equal protocols may share a table.
        metrics: all of its metrics by name.
        make: makes the evaluator of a data set.
        by_category, by_level: names of the metrics that reports show by category and by occlusion level.
        given_masks: whether methods are given the visible masks. Then their results are matched by annotation id, and
            an instance without a result is a mistake. Otherwise they are given the image alone.
    """

    protocol: str
    metrics: dict[str, Metric]
    make: Callable[[AmodalDataset, TrackOptions], Evaluator]
    by_category: tuple[str, ...]
    by_level: tuple[str, ...] = ()
    given_masks: bool = True


TRACKS = {
    "completion": Track(
        protocol=completion.COMPLETION,
        metrics=completion.METRICS,
        make=lambda data, options: completion.CompletionEvaluator(data, boundary=options.boundary),
        by_category=("miou", "occluded_miou"),
        by_level=("instance_miou", "instance_occluded_miou"),
    ),
    "instance": Track(
        protocol=instance_metrics.INSTANCE,
        metrics=instance_metrics.METRICS,
        make=lambda data, options: instance.InstanceEvaluator(data, class_agnostic=options.class_agnostic),
        by_category=("amodal_ap", "amodal_ap_over15", "visible_ap", "occluded_ap"),
        by_level=("amodal_ap", "amodal_ar100"),
        given_masks=False,
    ),
    "multimodal": Track(
        protocol=multimodal.MULTIMODAL,
        metrics=multimodal.METRICS,
        make=lambda data, _: multimodal.MultimodalEvaluator(data),
        by_category=("best_miou", "diversity"),
    ),
    "order": Track(
        protocol=order.ORDER,
        metrics=order.METRICS,
        make=lambda data, _: order.OrderEvaluator(data),
        by_category=("order_accuracy",),
    ),
    "shape": Track(
        protocol=shape.SHAPE,
        metrics=shape.METRICS,
        make=lambda data, own: shape.ShapeEvaluator(data, meshes=own.meshes, folder=own.folder, turns=own.turns),
        by_category=("azimuth_accuracy", "held_out_azimuth_accuracy", "azimuth_median", "voxel_iou"),
    ),
    "pose": Track(
        protocol=pose.POSE,
        metrics=pose.METRICS,
        make=lambda data, own: pose.PoseEvaluator(data, meshes=own.meshes),
        by_category=(
            "posed_miou",
            "posed_occluded_miou",
            "add_recall",
            "mssd_recall",
            "mspd_recall",
            "rotation_median",
        ),
        by_level=(
            "posed_instance_miou",
            "posed_instance_occluded_miou",
            "instance_add_recall",
            "instance_mssd_recall",
            "instance_mspd_recall",
        ),
    ),
}
