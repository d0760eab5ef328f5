"""Checks of annotations that can be read; each check looks at one object or one image.

Areas, boxes and rates that a record states are compared with its masks, since other tools rely on them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record, is_nothing, is_number
from shape3d_amodal.annotations.formats.interface import Format
from shape3d_amodal.masks.clusters import overlapping
from shape3d_amodal.structures import AmodalImage, AmodalInstance, Rle

SLACK = 0.02
"""Share of a mask by which hand-drawn outlines may differ; more is an error."""
_BOX_PIXELS = 2
_RATE = 0.01
_AREA = 0.05
"""Tolerated differences: of boxes in pixels, of rates, and of areas as a share."""

Severity = Literal["error", "warning"]
Box = tuple[float, float, float, float]
Report = Callable[[Severity, str, str, str], None]
"""Takes a severity, the name of a check, the field and the problem."""


def check_object(record: Record, one: AmodalInstance, format: Format, report: Report) -> None:
    """Compare what ``record`` states with the masks of the object that was read from it."""

    def say(severity: Severity, check: str, key: str, problem: str) -> None:
        report(severity, check, record.place(key), problem)

    values = record.values
    for key in format.mask_keys:
        _check_form(key, values.get(key), say)
    if one.amodal is None:
        return
    amodal = visible = shared = masks.area(one.amodal)
    whole = part = masks.bbox(one.amodal)
    if one.visible != one.amodal:
        visible, shared = masks.area(one.visible), masks.overlap(one.amodal, one.visible)
        part = masks.bbox(one.visible)
    if visible == 0:
        problem = "nothing of the object is visible; methods that start from visible masks leave it out"
        say("warning", "hidden", format.visible, problem)
    if outside := visible - shared:
        problem = f"{outside} of {visible} visible pixels lie outside the amodal mask; redraw either"
        say("error" if outside > SLACK * visible else "warning", "visible-outside", format.visible, problem)
    if format.invisible and values.get(format.invisible) is not None:
        _check_invisible(format.invisible, record, one, one.amodal, say)
    if format.rate and format.rate in values:
        stated, rate = values[format.rate], (amodal - shared) / amodal
        if not is_number(stated) or abs(stated - rate) > _RATE:
            problem = f"expected {rate:.3f} (hidden / amodal area of the masks), got {_told(stated)}; convert the set"
            say("error", "occlude-rate", format.rate, problem)
    for area_key, area in ((format.amodal_area, amodal), (format.visible_area, visible)):
        if area_key and area_key in values:
            _check_area(area_key, values[area_key], area, say)
    if format.amodal_box and format.amodal_box in values:
        _check_box(format.amodal_box, values[format.amodal_box], whole, part, "visible", say)
    if format.visible_box and format.visible_box in values:
        _check_box(format.visible_box, values[format.visible_box], part, whole, "amodal", say)


def _check_form(key: str, value: Any, say: Report) -> None:
    """Masks in forms that are read here and break other tools."""
    if isinstance(value, dict):
        if not isinstance(value.get("counts"), str):
            problem = "the runs are not compressed, which pycocotools refuses; convert the set"
            say("warning", "uncompressed", key, problem)
    elif isinstance(value, list) and not is_nothing(value) and isinstance(value[0], (list, np.ndarray)):
        if short := sum(len(polygon) < 6 for polygon in value):
            problem = f"{short} of {len(value)} polygons have fewer than 6 coordinates; they are left out"
            say("warning", "short-polygon", key, problem)
        elif len(value) > 1:
            problem = f"{len(value)} polygons for one object; some tools take the first alone"
            say("warning", "several-polygons", key, problem)


def _check_invisible(key: str, record: Record, one: AmodalInstance, amodal: Rle, say: Report) -> None:
    stated = record.values[key]
    invisible = masks.empty(amodal.height, amodal.width)
    if not is_nothing(stated):
        place = record.place(key)
        invisible = masks.from_annotation(stated, amodal.height, amodal.width, file=record.file, field=place)
    if both := masks.overlap(invisible, one.visible):
        severity: Severity = "error" if both > SLACK * masks.area(invisible) else "warning"
        say(severity, "invisible-visible", key, f"{both} invisible pixels are visible, too; redraw either")
    elif invisible != masks.subtract(amodal, one.visible):
        problem = "not the amodal mask without the visible one; it follows from them and is not read"
        say("warning", "invisible-differs", key, problem)


def _check_area(key: str, stated: Any, area: int, say: Report) -> None:
    if is_number(stated) and 0 <= stated <= 1 < area:
        problem = f"got {_told(stated)} where the mask has {area} pixels: a visible ratio; convert the set"
        say("error", "area-is-ratio", key, problem)
    elif not is_number(stated) or abs(stated - area) > max(_AREA * area, 2 * area**0.5):
        problem = f"expected about {area} pixels as the mask has, got {_told(stated)}; convert the set"
        say("warning", "area", key, problem)


def _check_box(key: str, stated: Any, box: Box, other: Box, other_name: str, say: Report) -> None:
    """Compare a stated box with that of its own mask, and if it differs with that of the ``other`` mask."""
    if type(stated) is not list or len(stated) != 4 or not all(map(is_number, stated)):
        say("warning", "box", key, "expected 4 numbers x, y, width, height; convert the set")
    elif not _close(stated, box):
        told = [round(float(number), 1) for number in stated]
        if _close(stated, other):
            say("error", "box-of-other-mask", key, f"got the box of the {other_name} mask, {told}; convert the set")
        else:
            problem = f"expected {[round(number) for number in box]} as the mask has, got {told}; convert the set"
            say("warning", "box", key, problem)


def _close(stated: list[Any], box: Box) -> bool:
    return all(abs(first - second) <= _BOX_PIXELS for first, second in zip(stated, box, strict=True))


def _told(value: Any) -> str:
    return f"{value:.6g}" if is_number(value) else "no number"


def check_orders(image: AmodalImage, report: Report) -> None:
    """No two objects of a cluster that overlap may share an order."""
    groups: dict[tuple[int | None, int], list[AmodalInstance]] = defaultdict(list)
    for one in image.instances:
        if one.depth_order is not None and one.amodal is not None:
            groups[one.cluster, one.depth_order].append(one)
    for (_, order), members in groups.items():
        for first, second in _overlapping(members):
            problem = f"shares the order {order} with annotation {first.id}, which it overlaps; order them by distance"
            report("error", "order-shared", f"annotations[id={second.id}]", problem)


def _overlapping(members: list[AmodalInstance]) -> Iterator[tuple[AmodalInstance, AmodalInstance]]:
    """For each object the first one before it that shares more pixels with it than ``SLACK`` allows."""
    regions = [one.amodal for one in members if one.amodal is not None]
    found: set[int] = set()
    for i, j in overlapping(regions) if len(regions) > 1 else ():
        smaller = min(masks.area(regions[i]), masks.area(regions[j]))
        if j not in found and masks.overlap(regions[i], regions[j]) > SLACK * smaller:
            found.add(j)
            yield members[i], members[j]
