"""What the tables say: every metric with its formula and its protocol, on boolean masks or on integer counts.

Published amodal numbers differ more by protocol than by method, so a number never travels without its ``Metric``.

Conventions:
    - IoU of two empty masks is 1; of an empty and a non-empty mask 0.
    - An instance without a prediction scores 0, whatever its ground truth.
    - The occluded IoU is undefined (NaN) for an instance without hidden pixels; such instances are left out of
      its means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

COMPLETION = "completion: visible masks given, matched by annotation id, missing predictions count 0"
"""The protocol tag of the completion track."""

BOUNDARY_DILATION = 0.02
"""Width of the boundary band as a share of the image's diagonal (Cheng et al., CVPR 2021)."""


@dataclass(frozen=True)
class Metric:
    """One number's meaning.

    Attributes:
        name: key in files.
        title: heading in tables.
        formula: P is the predicted amodal mask, A the true amodal mask, V the true visible mask.
        protocol: under which conditions numbers may share a table.
        source: where the definition comes from, and what was changed.
        unit: "share" is a number in 0..1, shown in percent; anything else is shown as it is.
        higher_is_better: whether the highest number of a comparison is the best.
    """

    name: str
    title: str
    formula: str
    protocol: str
    source: str
    unit: str = "share"
    higher_is_better: bool = True


MIOU = Metric(
    "miou",
    "mIoU",
    "mean over categories of the mean over instances of |P ∩ A| / |P ∪ A|",
    COMPLETION,
    "the 13-category ShapeNet table of A3D (ECCV 2022)",
)
OCCLUDED_MIOU = Metric(
    "occluded_miou",
    "occluded mIoU",
    "mean over categories of the mean over instances with |A \\ V| > 0 of |(P ∩ A) \\ V| / |(P ∪ A) \\ V|",
    COMPLETION,
    "mIoU_occ of C2F-Seg (ICCV 2023), which selects instances by a signed sum of A - V; here |A \\ V| > 0 selects "
    "them, so that visible pixels outside the amodal mask cannot cancel hidden ones; averaged by category first",
)
INSTANCE_MIOU = Metric(
    "instance_miou",
    "mIoU_full",
    "mean over instances of |P ∩ A| / |P ∪ A|",
    COMPLETION,
    "mIoU_full of C2F-Seg (ICCV 2023)",
)
INSTANCE_OCCLUDED_MIOU = Metric(
    "instance_occluded_miou",
    "mIoU_occ",
    "mean over instances with |A \\ V| > 0 of |(P ∩ A) \\ V| / |(P ∪ A) \\ V|",
    COMPLETION,
    "mIoU_occ of C2F-Seg (ICCV 2023) with instances selected by |A \\ V| > 0 instead of a signed sum",
)
MICRO_MIOU = Metric(
    "micro_miou",
    "micro mIoU",
    "Σ |P ∩ A| / Σ |P ∪ A| over all instances",
    COMPLETION,
    "mIoU of PCNet-M (Zhan et al., CVPR 2020)",
)
BOUNDARY_MIOU = Metric(
    "boundary_miou",
    "boundary mIoU",
    "mean over categories of the mean over instances of |Pd ∩ Ad| / |Pd ∪ Ad|, where Xd is X less its erosion by "
    f"{BOUNDARY_DILATION:g} of the image's diagonal",
    COMPLETION,
    "boundary IoU of Cheng et al. (CVPR 2021), averaged by category",
)
METRICS = {
    metric.name: metric
    for metric in (MIOU, OCCLUDED_MIOU, INSTANCE_MIOU, INSTANCE_OCCLUDED_MIOU, MICRO_MIOU, BOUNDARY_MIOU)
}
"""Every metric of the completion track by its name."""


def iou(prediction: Mask, target: Mask) -> float:
    """Intersection over union of two masks [H,W] bool, in 0..1; 1 where both are empty."""
    return float(iou_of_counts((prediction & target).sum(), prediction.sum(), target.sum()))


def occluded_iou(prediction: Mask, amodal: Mask, visible: Mask) -> float:
    """IoU outside the true visible mask: P \\ V against A \\ V, all [H,W] bool; NaN where nothing of A is hidden."""
    hidden = amodal & ~visible
    return iou(prediction & ~visible, hidden) if hidden.any() else float("nan")


def boundary(mask: Mask, dilation: float = BOUNDARY_DILATION) -> Mask:
    """The pixels [H,W] bool of a mask that lie near its contour; the image's border counts as a contour.

    Args:
        mask: [H,W] bool.
        dilation: width of the band as a share of the image's diagonal; at least one pixel.
    """
    width = boundary_width(mask.shape[0], mask.shape[1], dilation)
    # Eroding `width` times by 3 x 3 is one erosion by a square, whose rows and columns are independent.
    eroded = ndimage.minimum_filter(mask.astype(np.uint8), 2 * width + 1, mode="constant", cval=0)
    return mask & (eroded == 0)


def boundary_width(height: int, width: int, dilation: float = BOUNDARY_DILATION) -> int:
    """Pixels of the boundary band of an image of that size, at least 1."""
    return max(1, round(dilation * float(np.hypot(height, width))))


def boundary_iou(prediction: Mask, target: Mask, dilation: float = BOUNDARY_DILATION) -> float:
    """IoU of the boundary bands of two masks [H,W] bool (Cheng et al., CVPR 2021)."""
    return iou(boundary(prediction, dilation), boundary(target, dilation))


def iou_of_counts(intersection: ArrayLike, prediction: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """IoU from pixel counts of any (equal) shape: |P ∩ A|, |P| and |A|; 1 where both masks are empty."""
    shared = np.asarray(intersection, np.float64)
    union = np.asarray(prediction, np.float64) + np.asarray(target, np.float64) - shared
    return np.divide(shared, union, out=np.ones_like(shared), where=union > 0)


def micro_iou(intersection: ArrayLike, prediction: ArrayLike, target: ArrayLike) -> float:
    """Σ |P ∩ A| / Σ |P ∪ A| from integer counts [N]; NaN without instances."""
    if np.size(target) == 0:
        return float("nan")
    return float(iou_of_counts(np.sum(intersection), np.sum(prediction), np.sum(target)))
