"""The best, the median and the worst objects of a run as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from shape3d_amodal import masks
from shape3d_amodal.benchmarking.methods import VisibleOnlyOptions
from shape3d_amodal.benchmarking.runner import RunScores
from shape3d_amodal.evaluation.given_masks.completion import CompletionTable
from shape3d_amodal.reports.cases import LEGEND, completion_case
from shape3d_amodal.reports.html import CaseGroup, ReportCase
from shape3d_amodal.structures import AmodalImage, AmodalInstance

MOST_PANELS = 1000
"""Images of a report, which bound its size."""
_LARGE = 6  # methods up to which images are large
_EDGE = 4  # objects shown as best, and as worst, where all are shown

T = TypeVar("T")


@dataclass(frozen=True)
class ScoredObject:
    """An object of a run with its image, the name of its category and the focused method's IoU."""

    image: AmodalImage
    instance: AmodalInstance
    category: str
    score: float


def case_groups(scores: RunScores, panels: int = MOST_PANELS) -> list[CaseGroup]:
    """The objects of a completion run in the order of the focused method's IoU.

    Where all fit into ``panels`` images all are shown; else the best, the median and the worst of every category; and
    where these do not fit, either, the best, median and worst of all.
    """
    objects = sorted(scored_objects(scores), key=lambda one: -one.score)
    room = max(3, panels // (len(scores.methods) + 3))
    groups: dict[str, Sequence[ScoredObject]]
    if len(objects) <= room:
        groups = _all(objects)
    else:
        names = scores.tables[scores.run.focus].names.values()
        own = [[one for one in objects if one.category == name] for name in names]
        parts = own if 3 * len(own) <= room else [objects]
        groups = best_median_worst([part for part in parts if part], 1 if parts is own else room // 3)
    shown = [(title, group) for title, group in groups.items() if group]
    # The visible mask has a panel of its own.
    methods = [
        name
        for name, method in scores.methods.items()
        if name == scores.run.focus or not isinstance(method.options, VisibleOnlyOptions)
    ]
    return [
        CaseGroup(title=title, cases=tuple(cases(scores, group, methods)), note="" if number else LEGEND)
        for number, (title, group) in enumerate(shown)
    ]


def scored_objects(scores: RunScores) -> list[ScoredObject]:
    """The scored objects of a completion run in the data set's order."""
    table = scores.methods[scores.run.focus].table
    assert isinstance(table, CompletionTable), "a completion run"
    ious = dict(zip(table.column("annotation_id").tolist(), table.iou.tolist(), strict=True))
    names = scores.data.dataset.category_names
    return [
        ScoredObject(image, instance, names[instance.category_id], ious[instance.id])
        for image in scores.data.dataset.images
        for instance in image.instances
        if instance.id in ious
    ]


def _all(objects: list[ScoredObject]) -> dict[str, Sequence[ScoredObject]]:
    edge = min(_EDGE, len(objects) // 2)
    between = sorted(objects[edge : len(objects) - edge], key=lambda one: one.instance.id)
    return {"Best": objects[:edge], "Worst": objects[len(objects) - edge :][::-1], "All others": between}


def best_median_worst(parts: Sequence[Sequence[T]], count: int) -> dict[str, Sequence[T]]:
    """``count`` of each kind from every part, which is sorted from best to worst."""
    middles = [max(0, (len(part) - count) // 2) for part in parts]
    return {
        "Best": [one for part in parts for one in part[:count]],
        "Median": [one for part, at in zip(parts, middles, strict=True) for one in part[at : at + count]],
        "Worst": [one for part in parts for one in part[max(0, len(part) - count) :][::-1]],
    }


def cases(scores: RunScores, objects: Sequence[ScoredObject], methods: Sequence[str]) -> list[ReportCase]:
    """Each object with what ``methods``, one of them the focused one, made of it; nothing where it has no answer."""
    wanted = {one.instance.id for one in objects}
    answers = {
        name: {
            one.annotation_id: one.segmentation for one in scores.methods[name].results if one.annotation_id in wanted
        }
        for name in methods
    }
    side = 256 if len(methods) <= _LARGE else 112
    made = []
    for one in objects:
        assert one.instance.amodal is not None, "scored objects have a true mask"
        visible = masks.decode(one.instance.visible)
        found = {name: own.get(one.instance.id) for name, own in answers.items()}
        case = completion_case(
            f"{one.category}, image {one.image.id}",
            scores.data.files.read(one.image),
            visible=visible,
            masks={name: visible & False if rle is None else masks.decode(rle) for name, rle in found.items()},
            focus=scores.run.focus,
            truth=masks.decode(one.instance.amodal),
            side=side,
        )
        made.append(case)
    return made
