"""3D IoU in the object frame, for reconstructions whose cameras are known: the numbers of NMR's and SoftRas' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shape3d_amodal.evaluation.means import MeanTable
from shape3d_amodal.evaluation.metrics import Metric

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


def known_cameras_table(ious: Mapping[str, Sequence[float] | NDArray[np.float64]]) -> MeanTable:
    """The table of one method from the 3D IoU of every object, by category."""
    names = dict(enumerate(ious))
    categories = np.repeat(np.arange(len(names)), [len(own) for own in ious.values()])
    values = np.concatenate([np.asarray(own, np.float64) for own in ious.values()])
    missing = np.zeros(len(values), bool)
    return MeanTable(KNOWN_CAMERAS, (OBJECT_IOU,), names, categories, {OBJECT_IOU.name: values}, missing)
