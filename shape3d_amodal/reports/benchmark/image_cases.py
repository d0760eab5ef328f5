"""The best, the median and the worst images of an instance run."""

from __future__ import annotations

from collections.abc import Sequence

import faster_coco_eval.core.mask as coco_mask
import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.benchmarking.runner import RunScores
from shape3d_amodal.drawing.overlays import Image, draw_instances
from shape3d_amodal.reports.benchmark.completion_cases import best_median_worst
from shape3d_amodal.reports.cases import bounded
from shape3d_amodal.reports.html import CaseGroup, Panel, ReportCase
from shape3d_amodal.structures import AmodalImage, AmodalInstance, Rle

LEGEND = (
    "Shown are as many of a method's surest masks as there are objects; the number is the mean over objects of the "
    "best IoU with one of its masks of the same category, in percent."
)
_SIDE = 256


def image_groups(scores: RunScores, panels: int) -> list[CaseGroup]:
    """The images in the order of the focused method's mean IoU, a third of ``panels`` panels each."""
    found = {name: _by_image(method.results) for name, method in scores.methods.items()}
    own = found[scores.run.focus]
    images = [
        (mean_best_iou(_truth(image), own.get(image.id, [])), image)
        for image in scores.data.dataset.images
        if _truth(image)
    ]
    images.sort(key=lambda one: -one[0])
    count = min(8, panels // (3 * (len(found) + 2)), len(images) // 3)
    groups = best_median_worst([images], count)
    return [
        CaseGroup(title=title, cases=tuple(_case(scores, *one, found) for one in group), note="" if number else LEGEND)
        for number, (title, group) in enumerate(groups.items())
        if group
    ]


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
    caption = f"{len(truth)} scored object{'s' * (len(truth) > 1)} · mean best IoU {100 * score:.1f}"
    return ReportCase(title=title, caption=caption, panels=tuple(panels), score=score)


def _drawn(image: Image, regions: Sequence[Rle]) -> Image:
    return bounded(draw_instances(image, [masks.decode(region) for region in regions]), _SIDE)
