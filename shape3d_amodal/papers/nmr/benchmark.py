"""The benchmark of reconstructions with known cameras: 3D IoU beside that of the mean shape of the training objects.

It gives the numbers of the tables of NMR (Kato et al., CVPR 2018) and SoftRas (Liu et al., ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.baselines.mean_shape import mean_shape
from shape3d_amodal.benchmarking.config import KnownCamerasRun, MarginConfig
from shape3d_amodal.benchmarking.margins import margin_table, margins
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric
from shape3d_amodal.evaluation.tables import category_table
from shape3d_amodal.files.pretrained import read_network
from shape3d_amodal.meshes.sources import SYNSETS
from shape3d_amodal.meshes.voxels import voxel_iou
from shape3d_amodal.papers.nmr.files import nmr_objects
from shape3d_amodal.papers.nmr.network import KnownCamerasConfig, KnownCamerasModel, view_ious
from shape3d_amodal.reports.benchmark.margin_lines import summary
from shape3d_amodal.reports.benchmark.report import ExtraRun

KNOWN_CAMERAS = "known cameras: one whole object a picture by NMR's protocol, 24 views, the frame of the object given"
"""The protocol tag of 3D IoU with known cameras."""

OBJECT_IOU = Metric(
    "object_voxel_iou",
    "3D IoU, 32³",
    "mean over categories of the mean over objects of the mean over their 24 views of the IoU of voxels (32³, by the "
    "rule of NMR's files) in the object frame",
    KNOWN_CAMERAS,
    "NMR (Kato et al., CVPR 2018) and SoftRas (Liu et al., ICCV 2019)",
)

MEAN, OURS = "mean shape", "reconstruction"
OVER = MarginConfig(of=OURS, over=(MEAN,))
_NAMES = {synset: name for name, synset in SYNSETS.items()}


def known_cameras_table(ious: Mapping[str, Sequence[float] | NDArray[np.float64]]) -> MeanTable:
    """The table of one method from the 3D IoU of every object, by category."""
    names = dict(enumerate(ious))
    categories = np.repeat(np.arange(len(names)), [len(own) for own in ious.values()])
    values = np.concatenate([np.asarray(own, np.float64) for own in ious.values()])
    missing = np.zeros(len(values), bool)
    return MeanTable(KNOWN_CAMERAS, (OBJECT_IOU,), names, categories, {OBJECT_IOU.name: values}, missing)


def score_known_cameras(config: KnownCamerasRun) -> ExtraRun:
    """Reconstruct the test objects from each of their views, and compare with the mean shape of the training voxels.

    Raises:
        DataError, WeightsError: data or weights are missing or damaged, or the weights do not know a category.
    """
    model, _ = read_network(Path(config.weights), KnownCamerasConfig, KnownCamerasModel)
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
