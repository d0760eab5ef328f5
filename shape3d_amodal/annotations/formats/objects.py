"""One object of a file: its masks, whichever of them the record gives, and its other fields."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record, is_nothing, is_number, told
from shape3d_amodal.annotations.formats.interface import Format
from shape3d_amodal.annotations.formats.poses import read_pose
from shape3d_amodal.errors import DataError
from shape3d_amodal.structures import AmodalImage, AmodalInstance, Rle


class Found(NamedTuple):
    """An object as its own record shows it.

    Where ``visible_known`` is False, its visible mask follows from the other objects of the image (``settle``).
    """

    record: Record
    instance: AmodalInstance
    visible_known: bool


def find_object(record: Record, format: Format, image: AmodalImage, *, identity: int, category: int) -> Found:
    """Read one object of ``image``."""
    amodal = None
    if format.amodal and (format.needs_amodal or not is_nothing(record.values.get(format.amodal))):
        amodal = _mask(record, format.amodal, image)
    visible = _visible(record, format, image, amodal)
    order = record.optional(format.order, int) if format.order else None
    if format.order and order is not None and order < format.first_order:
        raise record.error(format.order, f"expected {format.first_order} (nearest) or more, got {order}")
    shown = amodal if visible is None else visible
    if shown is None or (visible is None and order is None):
        raise _no_visible_mask(record, format, amodal)
    instance = AmodalInstance(
        id=identity,
        category_id=category,
        visible=shown,
        amodal=amodal,
        occlude_rate=None if amodal is None else masks.occlude_rate(shown, amodal),
        depth_order=None if order is None else order - format.first_order,
        cluster=record.optional(format.cluster, int) if format.cluster else None,
        # A crowd is no single object, so it is never scored.
        ignore=record.flag("ignore") or record.flag("iscrowd"),
        crowd=record.flag("iscrowd"),
        is_stuff=record.flag("isStuff"),
        track=record.optional("track_id", int),
        mesh=record.optional("mesh", str),
        viewpoint=numbers(record, "viewpoint"),
        pose=read_pose(record),
    )
    return Found(record, instance, visible is not None)


def numbers(record: Record, key: str) -> dict[str, float] | None:
    """The numbers by name of the optional field ``key``."""
    values = record.optional(key, dict)
    wrong = [value for value in (values or {}).values() if not is_number(value)]
    if wrong:
        raise record.error(key, f"expected an object of finite numbers, got {told(wrong[0])} in it")
    return values


def _visible(record: Record, format: Format, image: AmodalImage, amodal: Rle | None) -> Rle | None:
    """The visible mask, if the record itself determines it; None if it follows from other objects."""
    values = record.values
    invisible = None
    if format.invisible and values.get(format.invisible) is not None:
        invisible = _mask(record, format.invisible, image, may_be_empty=True)
    shown = values.get(format.visible)
    if shown is not None and not (amodal is None and is_nothing(shown)):
        if amodal is not None and format.amodal and _same_polygons(shown, values[format.amodal]):
            return amodal  # so that equal polygons are drawn once
        return _mask(record, format.visible, image, may_be_empty=amodal is not None)
    if amodal is None:
        return None
    if invisible is not None:
        return masks.subtract(amodal, invisible)
    unhidden = format.whole_unless_visible or (format.rate is not None and values.get(format.rate) == 0)
    return amodal if unhidden else None


def _no_visible_mask(record: Record, format: Format, amodal: Rle | None) -> DataError:
    value = record.values.get(format.visible)
    came = "missing; expected" if value is None else f"got {told(value)}, expected"
    if format.amodal is None:
        return record.error(format.visible, f"{came} a mask of the visible pixels (boxes alone cannot be completed)")
    problem = f"{came} a mask of the visible pixels, or {format.amodal} and an order of the objects"
    if amodal is not None and not format.needs_amodal:
        problem += f"; if {format.amodal} shows the visible pixels, as in plain COCO, give --segmentation visible"
        problem += "; trainings want such a file converted: data convert --segmentation visible --to coco_amodal"
    return record.error(format.visible, problem)


def _same_polygons(first: Any, second: Any) -> bool:
    """Whether both are lists of the same polygons, as of most objects that nothing hides."""
    if type(first) is not list or type(second) is not list or len(first) != len(second):
        return False
    arrays = all(isinstance(one, np.ndarray) for one in (*first, *second))
    return arrays and all(map(np.array_equal, first, second))


def _mask(record: Record, key: str, image: AmodalImage, *, may_be_empty: bool = False) -> Rle:
    value = record.values.get(key)
    if is_nothing(value) and value is not None and may_be_empty:
        return masks.empty(image.height, image.width)
    if is_nothing(value):
        raise record.error(key, "missing; expected a mask" if value is None else f"expected a mask, got {told(value)}")
    mask = masks.from_annotation(value, image.height, image.width, file=record.file, field=record.place(key))
    if not may_be_empty and masks.area(mask) == 0:
        problem = "expected a mask with at least one pixel, got an empty one; drop or redo the annotation"
        raise record.error(key, problem)
    return mask
