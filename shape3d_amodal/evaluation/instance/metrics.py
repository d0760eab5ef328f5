"""The metrics of the instance track: names, formulas, and the subsets of instances that they are computed over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from shape3d_amodal.evaluation.metrics import Metric, by_name

INSTANCE = (
    "instance: from the image alone, matched by overlap within image and category as COCO does, "
    "at most 100 detections an image and category"
)
"""The protocol tag of the instance track."""

KINDS = ("amodal", "visible", "occluded")
"""The kinds of masks that are compared: the amodal mask A, the visible mask V and the hidden part A \\ V."""

OCCLUDED_LABEL = 0.05
"""An instance is called occluded if more than this share of it is hidden (ASN, CVPR 2019)."""


@dataclass(frozen=True)
class Subset:
    """Instances between two limits of one measure. Areas include both limits (as in COCO), shares only the upper one.

    Attributes:
        measure: "area" in pixels of the compared mask, or "hidden", |A \\ V| / |A|.
    """

    measure: Literal["area", "hidden"]
    low: float
    high: float


SUBSETS = {
    "all": Subset("area", 0, 1e10),
    "small": Subset("area", 0, 32**2),
    "medium": Subset("area", 32**2, 96**2),
    "large": Subset("area", 96**2, 1e10),
    "over15": Subset("hidden", 0.15, math.inf),
    "none": Subset("hidden", -math.inf, 0.0),
    "partial": Subset("hidden", 0.0, 0.25),
    "heavy": Subset("hidden", 0.25, math.inf),
}
LEVELS = ("none", "partial", "heavy")
"""Occlusion levels, with the limits of Zhu et al. (Semantic Amodal Segmentation, CVPR 2017): 0 and 25 % hidden."""

_COCO = "COCO (pycocotools' COCOeval, segm)"
_IGNORED = (
    "instances outside of the subset are ignored, as are detections that match them, and unmatched detections that are "
    "outside themselves"
)
_FORMULAS = {
    "ap": ("AP", "mean over categories, IoU thresholds 0.50:0.05:0.95 and 101 recalls of the interpolated precision"),
    "ap50": ("AP50", "AP at IoU threshold 0.50"),
    "ap75": ("AP75", "AP at IoU threshold 0.75"),
    "ap_small": ("AP_S", f"AP over masks of at most 32² pixels; {_IGNORED}"),
    "ap_medium": ("AP_M", f"AP over masks of 32² to 96² pixels; {_IGNORED}"),
    "ap_large": ("AP_L", f"AP over masks of at least 96² pixels; {_IGNORED}"),
    "ar1": ("AR1", "mean over categories and IoU thresholds of the recall, 1 detection an image and category"),
    "ar10": ("AR10", "mean over categories and IoU thresholds of the recall, 10 detections an image and category"),
    "ar100": ("AR100", "mean over categories and IoU thresholds of the recall, 100 detections an image and category"),
}
_MASKS = {
    "amodal": "P against A",
    "visible": "the predicted visible mask against V, instances with V not empty",
    "occluded": "the predicted occluded mask against A \\ V, instances with A \\ V not empty",
}
_OVER15_AP = Metric(
    "amodal_ap_over15",
    "amodal AP, > 15 % hidden",
    f"AP over instances with |A \\ V| / |A| > 0.15, P against A; {_IGNORED}; a detection's share is that of its own "
    "masks, and one that states no visible mask is inside",
    INSTANCE,
    "'Occluded AP' of ARCNN (Table 1); VRSP's evaluator writes this share into COCO's area field, which here stays",
)
_OCCLUSION_ACCURACY = Metric(
    "occlusion_accuracy",
    "occlusion accuracy",
    "share of the instances matched at IoU 0.50 (P against A) whose predicted label equals the true one; the labels "
    f"are |P \\ V'| / |P| > {OCCLUDED_LABEL:g}, with the predicted visible mask V', and |A \\ V| / |A| > "
    f"{OCCLUDED_LABEL:g}",
    INSTANCE,
    "'Occlusion accuracy' of ASN (CVPR 2019, Table 6), which does not say over what; there Mask R-CNN has one without "
    "an occlusion classifier, so here the labels are read from the masks",
)
METRICS = by_name(
    *(
        Metric(f"{kind}_{key}", f"{kind} {title}", f"{formula}; {_MASKS[kind]}", INSTANCE, _COCO)
        for kind in KINDS
        for key, (title, formula) in _FORMULAS.items()
    ),
    _OVER15_AP,
    _OCCLUSION_ACCURACY,
)
"""The metrics of the instance track by their names."""

LEVEL_METRICS = ("amodal_ap", "amodal_ap50", "amodal_ap75", "amodal_ar100")
"""The metrics by occlusion level (AP and AR for 'none', 'partial' and 'heavy' in the paper on layered embeddings)."""
