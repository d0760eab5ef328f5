"""The tracks by name: how each is evaluated, and which of its metrics a report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shape3d_amodal.evaluation import metrics
from shape3d_amodal.evaluation.given_masks import completion, multimodal, order, shape
from shape3d_amodal.evaluation.instance import metrics as instance_metrics
from shape3d_amodal.evaluation.instance import track
from shape3d_amodal.evaluation.interface import Evaluator
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.meshes.mesh import MeshSource
from shape3d_amodal.structures import AmodalDataset


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """What some of the tracks ask for.

    Attributes:
        boundary: completion: also boundary IoU.
        class_agnostic: instance: as if all objects were of one category.
        meshes: shape: where the meshes of the scenes are from; None scores viewpoints alone.
        folder: shape: what mesh names of results are relative to.
        turns: shape: degrees by which azimuths are turned, by category, found on other scenes.
    """

    boundary: bool = False
    class_agnostic: bool = False
    meshes: MeshSource | None = None
    folder: Path | None = None
    turns: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Track:
    """One way to score.

    Attributes:
        protocol: tag of its numbers.
        metrics: all that it measures, by name.
        make: an evaluator for a data set.
        by_category, by_level: names of the metrics that reports show by category and by occlusion level.
        matched: results are matched by annotation id, so that an instance without one is a mistake.
    """

    protocol: str
    metrics: dict[str, Metric]
    make: Callable[[AmodalDataset, TrackOptions], Evaluator]
    by_category: tuple[str, ...]
    by_level: tuple[str, ...] = ()
    matched: bool = True


TRACKS = {
    "completion": Track(
        protocol=metrics.COMPLETION,
        metrics=metrics.METRICS,
        make=lambda data, options: completion.CompletionEvaluator(data, boundary=options.boundary),
        by_category=("miou", "occluded_miou"),
        by_level=("instance_miou", "instance_occluded_miou"),
    ),
    "instance": Track(
        protocol=instance_metrics.INSTANCE,
        metrics=instance_metrics.METRICS,
        make=lambda data, options: track.InstanceEvaluator(data, class_agnostic=options.class_agnostic),
        by_category=("amodal_ap", "amodal_ap_over15", "visible_ap", "occluded_ap"),
        by_level=("amodal_ap", "amodal_ar100"),
        matched=False,
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
        make=lambda data, options: shape.ShapeEvaluator(
            data, meshes=options.meshes, folder=options.folder, turns=options.turns
        ),
        by_category=("azimuth_accuracy", "held_out_azimuth_accuracy", "azimuth_median", "voxel_iou"),
    ),
}
