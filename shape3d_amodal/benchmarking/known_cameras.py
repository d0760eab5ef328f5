"""The table of reconstructions with known cameras: 3D IoU beside the mean shape of the training objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shape3d_amodal.baselines.mean_shape import mean_shape
from shape3d_amodal.benchmarking.config import KnownCamerasRun, MarginConfig
from shape3d_amodal.benchmarking.margins import Compared, margin_table, margins
from shape3d_amodal.data.meshes import SYNSETS
from shape3d_amodal.data.nmr import nmr_objects
from shape3d_amodal.errors import DataError
from shape3d_amodal.evaluation.known_cameras import OBJECT_IOU, known_cameras_table
from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.tables import Table, category_table
from shape3d_amodal.evaluation.voxels import voxel_iou
from shape3d_amodal.reconstruction.known_cameras import load_known_cameras, view_ious

MEAN, OURS = "mean shape", "reconstruction"
OVER = MarginConfig(of=OURS, over=(MEAN,))
_NAMES = {synset: name for name, synset in SYNSETS.items()}


@dataclass(frozen=True)
class KnownCamerasScores:
    """What came out, by the name of the method, and what the tables of a report show of it."""

    config: KnownCamerasRun
    methods: dict[str, MeanTable]

    @property
    def note(self) -> str:
        table = self.methods[OURS]
        protocol = f"Protocol: {table.protocol}. {table.score.counts['instances']} objects of {self.config.data}, test."
        return f"{protocol} {self.config.note}".strip()

    def printed(self) -> list[Table]:
        """All tables."""
        return [self.by_category(), *(margin_table(rows, OVER, metric) for metric, rows in self.compared())]

    def by_category(self) -> Table:
        return category_table(self.methods, OBJECT_IOU.name, title=f"{OBJECT_IOU.title}, %").transposed()

    def compared(self) -> Compared:
        """The reconstruction over the mean shape; an object is a mesh, so that meshes are drawn."""
        return [(OBJECT_IOU, margins(self.methods, OURS, OVER.over, OBJECT_IOU))]


def score_known_cameras(config: KnownCamerasRun) -> KnownCamerasScores:
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
    return KnownCamerasScores(config, {MEAN: known_cameras_table(mean), OURS: known_cameras_table(ours)})
