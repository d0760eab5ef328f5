"""What may be wrong with annotations that can be read: each check looks at one object or one image.

The masks decide: what else a record states (areas, boxes, rates) is held against them, since other tools go by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record, is_number
from shape3d_amodal.annotations.formats.interface import Format
from shape3d_amodal.masks.clusters import overlapping
from shape3d_amodal.structures import AmodalImage, AmodalInstance, Rle

SLACK = 0.02
"""Share of a mask that hand-drawn outlines may differ by; more is an error."""
_PIXELS = 2
_RATE = 0.01
_AREA = 0.05

Severity = Literal["error", "warning"]
Say = Callable[[Severity, str, str, str], None]
"""Takes a severity, the name of a check, the field and the problem."""


@dataclass(frozen=True)
class _Measures:
    """Pixel counts of an object with both masks."""

    amodal: int
    visible: int
    shared: int


def check_object(record: Record, one: AmodalInstance, format: Format, say: Say) -> None:
    """Hold what ``record`` states against the masks of the object that was read from it."""
    _check_forms(record, format, say)
    if one.amodal is None:
        return
    measures = _measure(one.visible, one.amodal)
    _check_visible(record, format, measures, say)
    if format.invisible and record.values.get(format.invisible) is not None:
        _check_invisible(record, one, format, say)
    _check_rate(record, format, measures, say)
    for key, area in ((format.amodal_area, measures.amodal), (format.visible_area, measures.visible)):
        if key and key in record.values:
            _check_area(record, key, area, say)
    _check_boxes(record, one, format, say)


def _measure(visible: Rle, amodal: Rle) -> _Measures:
    area = masks.area(amodal)
    if visible == amodal:
        return _Measures(area, area, area)
    return _Measures(area, masks.area(visible), masks.overlap(amodal, visible))


def check_orders(image: AmodalImage, say: Say) -> None:
    """No two objects of a cluster that overlap may share an order."""
    groups: dict[tuple[int | None, int], list[AmodalInstance]] = defaultdict(list)
    for one in image.instances:
        if one.depth_order is not None and one.amodal is not None:
            groups[one.cluster, one.depth_order].append(one)
    for (_, order), members in groups.items():
        for first, second in _overlapping(members):
            problem = f"shares the order {order} with annotation {first.id}, which it overlaps; order them by distance"
            say("error", "order-shared", f"annotations[id={second.id}]", problem)


def _overlapping(members: list[AmodalInstance]) -> Iterator[tuple[AmodalInstance, AmodalInstance]]:
    """For each object the first before it with which it shares more pixels than outlines of neighbours do."""
    regions = [one.amodal for one in members if one.amodal is not None]
    found: set[int] = set()
    for i, j in overlapping(regions) if len(regions) > 1 else ():
        smaller = min(masks.area(regions[i]), masks.area(regions[j]))
        if j not in found and masks.overlap(regions[i], regions[j]) > SLACK * smaller:
            found.add(j)
            yield members[i], members[j]


def _check_forms(record: Record, format: Format, say: Say) -> None:
    """Masks in forms that are read here and break other tools."""
    for key in (format.amodal, format.visible, format.invisible):
        value = record.values.get(key) if key else None
        if not key or value is None:
            continue
        if isinstance(value, dict):
            if not isinstance(value.get("counts"), str):
                problem = "the runs are not compressed, which pycocotools refuses; convert the set"
                say("warning", "uncompressed", record.place(key), problem)
        elif isinstance(value, list) and value and isinstance(value[0], (list, np.ndarray)):
            short = sum(len(polygon) < 6 for polygon in value)
            if short:
                problem = f"{short} of {len(value)} polygons have fewer than 6 coordinates; they are left out"
                say("warning", "short-polygon", record.place(key), problem)
            elif len(value) > 1:
                problem = f"{len(value)} polygons for one object; some tools take the first alone"
                say("warning", "several-polygons", record.place(key), problem)


def _check_visible(record: Record, format: Format, measures: _Measures, say: Say) -> None:
    if measures.visible == 0:
        problem = "nothing of the object is visible; methods that start from visible masks leave it out"
        say("warning", "hidden", record.place(format.visible), problem)
    outside = measures.visible - measures.shared
    if outside:
        severity: Severity = "error" if outside > SLACK * measures.visible else "warning"
        problem = f"{outside} of {measures.visible} visible pixels lie outside the amodal mask; redraw either"
        say(severity, "visible-outside", record.place(format.visible), problem)


def _check_invisible(record: Record, one: AmodalInstance, format: Format, say: Say) -> None:
    assert one.amodal is not None and format.invisible is not None
    field = record.place(format.invisible)
    stated = record.values[format.invisible]
    invisible = masks.empty(one.amodal.height, one.amodal.width)
    if not isinstance(stated, list) or stated:
        invisible = masks.from_annotation(stated, one.amodal.height, one.amodal.width, file=record.file, field=field)
    both = masks.overlap(invisible, one.visible)
    if both:
        severity: Severity = "error" if both > SLACK * masks.area(invisible) else "warning"
        say(severity, "invisible-visible", field, f"{both} invisible pixels are visible, too; redraw either")
    elif invisible != masks.subtract(one.amodal, one.visible):
        problem = "not the amodal mask without the visible one; it follows from them and is not read"
        say("warning", "invisible-differs", field, problem)


def _check_rate(record: Record, format: Format, measures: _Measures, say: Say) -> None:
    if not format.rate or format.rate not in record.values:
        return
    stated = record.values[format.rate]
    rate = (measures.amodal - measures.shared) / measures.amodal
    if not is_number(stated) or abs(stated - rate) > _RATE:
        problem = f"expected {rate:.3f} (hidden / amodal area of the masks), got {_told(stated)}; convert the set"
        say("error", "occlude-rate", record.place(format.rate), problem)


def _check_area(record: Record, key: str, area: int, say: Say) -> None:
    stated = record.values[key]
    if is_number(stated) and 0 <= stated <= 1 < area:
        problem = f"got {_told(stated)} where the mask has {area} pixels: a visible ratio; convert the set"
        say("error", "area-is-ratio", record.place(key), problem)
    elif not is_number(stated) or abs(stated - area) > max(_AREA * area, 2 * area**0.5):
        problem = f"expected about {area} pixels as the mask has, got {_told(stated)}; convert the set"
        say("warning", "area", record.place(key), problem)


def _check_boxes(record: Record, one: AmodalInstance, format: Format, say: Say) -> None:
    assert one.amodal is not None
    whole = masks.bbox(one.amodal)
    seen = whole if one.visible == one.amodal else masks.bbox(one.visible)
    for key, box, other, name in (
        (format.amodal_box, whole, seen, "visible"),
        (format.visible_box, seen, whole, "amodal"),
    ):
        if not key or key not in record.values:
            continue
        stated = record.values[key]
        if type(stated) is not list or len(stated) != 4 or not all(map(is_number, stated)):
            say("warning", "box", record.place(key), "expected 4 numbers x, y, width, height; convert the set")
        elif not _close(stated, box):
            told = [round(float(number), 1) for number in stated]
            if _close(stated, other):
                problem = f"got the box of the {name} mask, {told}; convert the set"
                say("error", "box-of-other-mask", record.place(key), problem)
            else:
                problem = f"expected {[round(number) for number in box]} as the mask has, got {told}; convert the set"
                say("warning", "box", record.place(key), problem)


def _close(stated: list[Any], box: tuple[float, float, float, float]) -> bool:
    return all(abs(first - second) <= _PIXELS for first, second in zip(stated, box, strict=True))


def _told(value: Any) -> str:
    return f"{value:.6g}" if is_number(value) else "no number"
