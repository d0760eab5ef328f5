"""The table of reconstructions with known cameras: 3D IoU beside the mean shape of the training objects."""

from __future__ import annotations

import numpy as np

from shape3d_amodal.baselines.mean_shape import mean_shape
from shape3d_amodal.benchmarking.config import KnownCamerasRun, MarginConfig
from shape3d_amodal.benchmarking.margins import margin_table, margins
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.tables import category_table
from shape3d_amodal.meshes.sources import SYNSETS
from shape3d_amodal.meshes.voxels import voxel_iou
from shape3d_amodal.papers.nmr.files import nmr_objects
from shape3d_amodal.papers.nmr.metrics import OBJECT_IOU, known_cameras_table
from shape3d_amodal.papers.nmr.network import load_known_cameras, view_ious
from shape3d_amodal.reports.benchmark.margin_lines import summary
from shape3d_amodal.reports.benchmark.report import ExtraRun

MEAN, OURS = "mean shape", "reconstruction"
OVER = MarginConfig(of=OURS, over=(MEAN,))
_NAMES = {synset: name for name, synset in SYNSETS.items()}


def score_known_cameras(config: KnownCamerasRun) -> ExtraRun:
    """Reconstruct the test objects from each of their views; the mean shape is that of the training voxels.

    Raises:
        DataError, WeightsError: data or weights are missing or damaged, or the weights do not know a category.
    """
    model = load_known_cameras(config.weights)
    train = {group.synset: group for group in nmr_objects(config.data, "train")}
    ours, mean = {}, {}
    for group in nmr_objects(config.data, "test"):
        if group.synset not in model.config.synsets or group.synset not in train:
            problem = f"expected a test synset that the weights and the training objects know, got {group.synset}"
            raise DataError(problem, file=config.data)
        name = _NAMES.get(group.synset, group.synset)
        ours[name] = view_ious(model, group).mean(axis=1)
        grid, level = mean_shape(np.concatenate(list(train[group.synset].voxels())))
        mean[name] = [voxel_iou(grid >= level, truth) for block in group.voxels() for truth in block]
    return _shown(config, {MEAN: known_cameras_table(mean), OURS: known_cameras_table(ours)})


def _shown(config: KnownCamerasRun, methods: dict[str, MeanTable]) -> ExtraRun:
    """Tables by category, and the reconstruction's margin over the mean shape (an object is a mesh)."""
    table = methods[OURS]
    protocol = f"Protocol: {table.protocol}. {table.score.counts['instances']} objects of {config.data}, test."
    by_category = category_table(methods, OBJECT_IOU.name, title=f"{OBJECT_IOU.title}, %").transposed()
    rows = margins(methods, OURS, OVER.over, OBJECT_IOU)
    return ExtraRun(
        key="known_cameras",
        title=config.title,
        note=f"{protocol} {config.note}".strip(),
        tables=(by_category, margin_table(rows, OVER, OBJECT_IOU)),
        page=(f"{by_category.title}\n\n{by_category.to_markdown()}", summary(OVER, [(OBJECT_IOU, rows)])),
        metrics=(OBJECT_IOU,),
        scores={name: one.to_dict() for name, one in methods.items()},
    )
