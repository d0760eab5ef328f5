"""The best, the median and the worst objects of a run as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from shape3d_amodal import masks
from shape3d_amodal.benchmarking.methods import VisibleOnlyOptions
from shape3d_amodal.benchmarking.runner import RunScores
from shape3d_amodal.evaluation.given_masks.completion import CompletionTable
from shape3d_amodal.reports.cases import completion_case
from shape3d_amodal.reports.html import CaseGroup, ReportCase
from shape3d_amodal.structures import AmodalImage, AmodalInstance

MOST_PANELS = 1000
"""Images of a report, which bound its size."""
_LARGE = 6  # methods up to which images are large
FIRST = 2
"""Cases that a report shows at once as best, as median and as worst."""

T = TypeVar("T")


@dataclass(frozen=True)
class ScoredObject:
    """An object of a run with its image, the name of its category and the focused method's IoU."""

    image: AmodalImage
    instance: AmodalInstance
    category: str
    score: float


@dataclass(frozen=True)
class Pictures:
    """What a report shows of a run at once, and what when a reader asks for more; nothing is in both."""

    first: list[CaseGroup]
    more: list[CaseGroup]


def case_groups(scores: RunScores, panels: int = MOST_PANELS) -> Pictures:
    """The best, the median and the worst objects of a completion run by the focused method's IoU, then others.

    Where all fit into ``panels`` images the others are all; else the best, the median and the worst of every category;
    and where these do not fit, either, more of the best, median and worst of all.
    """
    objects = sorted(scored_objects(scores), key=lambda one: -one.score)
    room = max(3, panels // (len(scores.methods) + 3))
    first = best_median_worst([objects], min(FIRST, room // 3))
    shown = {one.instance.id for group in first.values() for one in group}
    rest = [one for one in objects if one.instance.id not in shown]
    more: dict[str, Sequence[ScoredObject]]
    if len(objects) <= room:
        more = {"": rest}
    else:
        left = room - len(shown)
        names = scores.tables[scores.run.focus].names.values()
        own = [part for part in ([one for one in rest if one.category == name] for name in names) if part]
        of_each = best_median_worst(own, 1)
        if sum(map(len, of_each.values())) <= left:
            more = {f"{title} of each category": group for title, group in of_each.items()}
        else:
            more = best_median_worst([rest], left // 3) if left >= 3 else {}
    # The visible mask has a panel of its own.
    methods = [
        name
        for name, method in scores.methods.items()
        if name == scores.run.focus or not isinstance(method.options, VisibleOnlyOptions)
    ]
    return Pictures(
        *(
            [
                CaseGroup(title=title, cases=tuple(cases(scores, group, methods)))
                for title, group in part.items()
                if group
            ]
            for part in (first, more)
        )
    )


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


def best_median_worst(parts: Sequence[Sequence[T]], count: int) -> dict[str, Sequence[T]]:
    """Up to ``count`` of each kind from every part, which is sorted from best to worst; nothing is of two kinds."""
    found: dict[str, list[T]] = {"Best": [], "Median": [], "Worst": []}
    for part in parts:
        edge = min(count, max(1, len(part) // 3))
        last = max(edge, len(part) - edge)
        middle = part[edge:last]
        start = max(0, (len(middle) - edge) // 2)
        found["Best"] += part[:edge]
        found["Median"] += middle[start : start + edge]
        found["Worst"] += part[last:][::-1]
    return dict(found)


def cases(scores: RunScores, objects: Sequence[ScoredObject], methods: Sequence[str]) -> list[ReportCase]:
    """Each object with what ``methods``, one of them the focused one, made of it; nothing where it has no answer."""
    wanted = {one.instance.id for one in objects}
    answers = {
        name: {
            one.annotation_id: one.segmentation
            for one in scores.methods[name].results
            if one.annotation_id in wanted and one.chance is None
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
