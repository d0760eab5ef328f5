"""The best, the median and the worst images of an instance run."""

from __future__ import annotations

from collections.abc import Sequence

import faster_coco_eval.core.mask as coco_mask
import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.benchmarking.runner import RunScores
from shape3d_amodal.drawing.overlays import Image, draw_instances
from shape3d_amodal.evaluation.tables import counted
from shape3d_amodal.reports.benchmark.completion_cases import FIRST, Pictures, best_median_worst
from shape3d_amodal.reports.cases import bounded
from shape3d_amodal.reports.html import CaseGroup, Panel, ReportCase
from shape3d_amodal.structures import AmodalImage, AmodalInstance, Rle

LEGEND = (
    "Shown are as many of a method's surest masks as there are objects; the number is the mean over objects of the "
    "best IoU with one of its masks of the same category, in percent. Colours tell the objects of an image apart."
)
_SIDE = 256
_MOST = 8  # images of each kind


def image_groups(scores: RunScores, panels: int) -> Pictures:
    """The best, the median and the worst images by the focused method's mean IoU, of at most ``panels`` panels."""
    found = {name: _by_image(method.results) for name, method in scores.methods.items()}
    own = found[scores.run.focus]
    images = [
        (mean_best_iou(_truth(image), own.get(image.id, [])), image)
        for image in scores.data.dataset.images
        if _truth(image)
    ]
    images.sort(key=lambda one: -one[0])
    count = max(1, min(_MOST, panels // (3 * (len(found) + 2))))
    first, more = [], []
    for title, group in best_median_worst([images], count).items():
        shown = [_case(scores, *one, found) for one in group]
        first.append(CaseGroup(title=title, cases=tuple(shown[:FIRST])))
        more.append(CaseGroup(title=title, cases=tuple(shown[FIRST:])))
    return Pictures(*([group for group in groups if group.cases] for groups in (first, more)))


def mean_best_iou(truth: Sequence[AmodalInstance], results: Sequence[AmodalResult]) -> float:
    """Mean over ``truth``, which is not empty, of the best IoU with a result of the same category; 0 without one."""
    best: list[float] = []
    for category in {one.category_id for one in truth}:
        whole = [one.amodal for one in truth if one.category_id == category and one.amodal is not None]
        predicted = [one.segmentation for one in results if one.category_id == category]
        codes = [[one.to_coco() for one in side] for side in (predicted, whole)]
        best += coco_mask.iou(*codes, [0] * len(whole)).max(axis=0).tolist() if predicted else [0.0] * len(whole)
    return float(np.mean(best))


def _truth(image: AmodalImage) -> list[AmodalInstance]:
    return [one for one in image.instances if one.amodal is not None and not one.ignore]


def _by_image(results: Sequence[AmodalResult]) -> dict[int, list[AmodalResult]]:
    """The results of each image, the surest first."""
    groups: dict[int, list[AmodalResult]] = {}
    for result in sorted(results, key=lambda one: -one.score):
        groups.setdefault(result.image_id, []).append(result)
    return groups


def _case(
    scores: RunScores, score: float, record: AmodalImage, found: dict[str, dict[int, list[AmodalResult]]]
) -> ReportCase:
    truth, known = _truth(record), [one.amodal for one in record.instances if one.amodal is not None]
    image = scores.data.files.read(record)
    panels = [
        Panel(label="image", image=bounded(image, _SIDE)),
        Panel(label="ground truth", image=_drawn(image, known)),
    ]
    for name, results in found.items():
        own = results.get(record.id, [])
        drawn = _drawn(image, [result.segmentation for result in own[: len(known)]])
        panels.append(Panel(label=name, image=drawn, value=f"{100 * mean_best_iou(truth, own):.1f}"))
    title = f"image {record.id}"
    caption = f"{counted(len(truth), 'scored object')} · mean best IoU {100 * score:.1f}"
    return ReportCase(title=title, caption=caption, panels=tuple(panels), score=score)


def _drawn(image: Image, regions: Sequence[Rle]) -> Image:
    return bounded(draw_instances(image, [masks.decode(region) for region in regions]), _SIDE)
