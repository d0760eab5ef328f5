"""The definition of a metric, and overlap scores of masks.

Published amodal numbers differ more by protocol than by method, so a number always travels with its ``Metric``.

Conventions:
    - The IoU of two empty masks is 1; the IoU of an empty and a non-empty mask is 0.
    - An instance without a prediction scores 0, whatever its ground truth.
    - The occluded IoU of an instance without hidden pixels is undefined (NaN); means leave such instances out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shape3d_amodal.crops.given import binary
from shape3d_amodal.errors import UsageError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Metric:
    """The meaning of one number.

    Attributes:
        name: key in files.
        title: heading in tables.
        formula: P is the predicted amodal mask, A the true amodal mask, V the true visible mask.
        protocol: the conditions of the evaluation; only numbers of equal protocols may share a table.
        source: where the definition comes from, and what was changed.
        unit: "share" is a number in 0..1, shown in percent; numbers with any other unit are shown as they are.
        higher_is_better: whether the highest number of a comparison is the best.
    """

    name: str
    title: str
    formula: str
    protocol: str
    source: str
    unit: str = "share"
    higher_is_better: bool = True


def by_name(*metrics: Metric) -> dict[str, Metric]:
    """``metrics`` by their names, in the same order."""
    return {metric.name: metric for metric in metrics}


def iou(prediction: Mask, target: Mask) -> float:
    """Intersection over union of two masks, in 0..1; 1 where both are empty.

    Args:
        prediction, target: of one shape [H,W], of bool, of 0 and 1, or of 0 and 255.

    Raises:
        UsageError: other values, such as probabilities (compare them with a threshold first), or different shapes.
    """
    prediction, target = _checked(prediction=prediction, target=target)
    return float(iou_of_counts((prediction & target).sum(), prediction.sum(), target.sum()))


def occluded_iou(prediction: Mask, amodal: Mask, visible: Mask) -> float:
    """IoU outside the true visible mask: P \\ V against A \\ V; NaN where nothing of A is hidden.

    Args:
        prediction, amodal, visible: masks, and errors, as for ``iou``.
    """
    prediction, amodal, visible = _checked(prediction=prediction, amodal=amodal, visible=visible)
    hidden = amodal & ~visible
    return iou(prediction & ~visible, hidden) if hidden.any() else float("nan")


def _checked(**given: ArrayLike) -> list[Mask]:
    """The masks as bool, all of one shape: numpy would stretch some others without a word."""
    masks = [binary(np.asarray(mask), name=name) for name, mask in given.items()]
    if len({mask.shape for mask in masks}) > 1:
        came = ", ".join(f"{name} {list(mask.shape)}" for name, mask in zip(given, masks, strict=True))
        raise UsageError(f"masks: expected one shape for all, got {came}")
    return masks


def iou_of_counts(intersection: ArrayLike, prediction: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """IoU from pixel counts of equal shapes: |P ∩ A|, |P| and |A|; 1 where both masks are empty."""
    shared = np.asarray(intersection, np.float64)
    union = np.asarray(prediction, np.float64) + np.asarray(target, np.float64) - shared
    return np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
