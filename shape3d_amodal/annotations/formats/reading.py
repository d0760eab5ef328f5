"""Functions that the readers of all formats share; ``read_records`` reads formats with one record for each instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.fields import Record, is_number
from shape3d_amodal.annotations.formats.interface import Format, Listener, Reading
from shape3d_amodal.masks.occlusion import visible_by_order
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Rle

MAX_ID = 2**53
"""Larger numbers may be rounded by programs that keep JSON's numbers as float64."""
_CATEGORY_KEYS = frozenset(("id", "name", "supercategory"))


class Found(NamedTuple):
    """An object as its own record shows it.

    Where ``visible_known`` is False, its visible mask follows from the other objects of the image (``settle``).
    """

    record: Record
    instance: AmodalInstance
    visible_known: bool


def read_records(root: Record, format: Format, listener: Listener) -> Reading:
    """Read the document ``root``; masks stay run-length codes.

    A missing visible mask follows from the invisible mask, from an occlusion rate of 0, or from the order
    (``occlusion.visible_by_order``).

    Raises:
        DataError: an error that ``listener`` does not let pass, naming the field, e.g. ``annotations[3].visible_mask``.
    """
    categories = []
    for record in unique_records(root, "categories", listener):
        with listener:
            name = record.get("name", str)
            categories.append(Category(record.get("id", int), name, record.optional("supercategory", str)))
    known = {category.id for category in categories}
    images = read_images(root, listener)
    found: dict[int, list[Found]] = defaultdict(list)
    for record in unique_records(root, "annotations", listener):
        with listener:
            image = image_of(record, images)
            category = record.get("category_id", int)
            if category not in known:
                raise record.error("category_id", f"unknown category {category}; add it to categories")
            identity = record.get("id", int)
            found[image.id].append(find_object(record, format, image, identity=identity, category=category))
    done = tuple(_with_objects(image, found.pop(image.id, []), root, format, listener) for image in images.values())
    known_keys = {"images": format.image_keys, "categories": _CATEGORY_KEYS, "annotations": format.keys}
    return Reading(AmodalDataset(images=done, categories=tuple(categories)), format, unread_keys(root, known_keys))


def _with_objects(
    image: AmodalImage, found: list[Found], root: Record, format: Format, listener: Listener
) -> AmodalImage:
    instances = settle(found, format, listener)
    known = {one.id for one in instances}
    pairs = tuple(pair for pair in image.depth_constraint if known.issuperset(pair))
    with listener:
        if len(pairs) < len(image.depth_constraint):
            problem = "expected pairs of ids of the image's annotations; correct or remove the others"
            raise root.error(f"images[id={image.id}].depth_constraint", problem)
    return replace(image, instances=instances, depth_constraint=pairs)


def unique_records(root: Record, key: str, listener: Listener) -> list[Record]:
    """The objects of the list ``key``, each with an ``id`` of its own."""
    values: list[Any] = []
    with listener:
        if key == "annotations" and key not in root.values:
            listener.images_alone(root.error(key, "missing; expected a list; add it, or use the annotated part"))
        else:
            values = root.get(key, list)
    records = []
    ids: set[int] = set()
    for index, value in enumerate(values):
        with listener:
            record = Record(value, root.file, f"{key}[{index}]")
            identity = record.get("id", int)
            if abs(identity) > MAX_ID:
                raise record.error("id", f"expected an id from -{MAX_ID} to {MAX_ID}; number the {key} anew")
            if identity in ids:
                raise record.error("id", f"duplicate id {identity}; give every entry of {key} its own")
            ids.add(identity)
            records.append(record)
    return records


def read_images(root: Record, listener: Listener) -> dict[int, AmodalImage]:
    """The images by their ids, without instances."""
    images = {}
    for record in unique_records(root, "images", listener):
        with listener:
            height, width = record.get("height", int), record.get("width", int)
            masks.check_size(height, width, file=record.file, field=record.field)
            identity = record.get("id", int)
            images[identity] = AmodalImage(
                id=identity,
                file_name=record.get("file_name", str),
                width=width,
                height=height,
                instances=(),
                depth_constraint=_pairs(record),
                camera=_numbers(record, "camera"),
            )
    return images


def image_of(record: Record, images: dict[int, AmodalImage]) -> AmodalImage:
    """The image of the annotation ``record``."""
    image_id = record.get("image_id", int)
    if image_id not in images:
        raise record.error("image_id", f"no image has the id {image_id}; add the image or drop the annotation")
    return images[image_id]


def find_object(record: Record, format: Format, image: AmodalImage, *, identity: int, category: int) -> Found:
    """Read one object of ``image``."""
    amodal = None
    if format.needs_amodal or record.values.get(format.amodal) is not None:
        amodal = _mask(record, format.amodal, image)
    visible = _visible(record, format, image, amodal)
    order = record.optional(format.order, int) if format.order else None
    if format.order and order is not None and order < format.first_order:
        raise record.error(format.order, f"expected {format.first_order} (nearest) or more, got {order}")
    shown = amodal if visible is None else visible
    if shown is None or (visible is None and order is None):
        remedy = f"missing; expected a mask of the visible pixels, or {format.amodal} and an order of the objects"
        raise record.error(format.visible, remedy)
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
        mesh=record.optional("mesh", str),
        viewpoint=_numbers(record, "viewpoint"),
    )
    return Found(record, instance, visible is not None)


def settle(found: Sequence[Found], format: Format, listener: Listener) -> tuple[AmodalInstance, ...]:
    """The objects of one image, with the visible masks that follow from their order."""
    all_found = [one.instance for one in found]
    instances = []
    for index, (record, instance, visible_known) in enumerate(found):
        if not visible_known:
            visible = visible_by_order(all_found, index)
            assert instance.amodal is not None
            instance = replace(instance, visible=visible, occlude_rate=masks.occlude_rate(visible, instance.amodal))
        listener.instance(record, instance, format)
        instances.append(instance)
    return tuple(instances)


def unread_keys(root: Record, known: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The keys that the readers have no use for; ``known`` are those read by list, e.g. ``annotations[].regions``."""
    unread = [key for key in root.values if key not in known]
    for place, keys in known.items():
        records: list[Any] = [root.values]
        for key in place.split("[]."):
            lists = (record.get(key) for record in records if isinstance(record, dict))
            records = [one for listed in lists if isinstance(listed, list) for one in listed]
        found: set[str] = set().union(*(record.keys() for record in records if isinstance(record, dict)))
        unread += [f"{place}[].{key}" for key in sorted(found - keys)]
    return tuple(unread)


def _visible(record: Record, format: Format, image: AmodalImage, amodal: Rle | None) -> Rle | None:
    """The visible mask, if the record itself determines it; None if it follows from other objects."""
    values = record.values
    invisible = None
    if format.invisible and values.get(format.invisible) is not None:
        invisible = _mask(record, format.invisible, image, may_be_empty=True)
    if values.get(format.visible) is not None:
        if amodal is not None and _same_polygons(values[format.visible], values[format.amodal]):
            return amodal  # so that equal polygons are drawn once
        return _mask(record, format.visible, image, may_be_empty=amodal is not None)
    if amodal is None:
        return None
    if invisible is not None:
        return masks.subtract(amodal, invisible)
    unhidden = format.whole_unless_visible or (format.rate is not None and values.get(format.rate) == 0)
    return amodal if unhidden else None


def _same_polygons(first: Any, second: Any) -> bool:
    """Whether both are lists of the same polygons, as of most objects that nothing hides."""
    if type(first) is not list or type(second) is not list or len(first) != len(second):
        return False
    arrays = all(isinstance(one, np.ndarray) for one in (*first, *second))
    return arrays and all(map(np.array_equal, first, second))


def _mask(record: Record, key: str, image: AmodalImage, *, may_be_empty: bool = False) -> Rle:
    value = record.values.get(key)
    if value is None:
        raise record.error(key, "missing; expected a mask")
    if may_be_empty and isinstance(value, list) and not value:  # no polygons
        return masks.empty(image.height, image.width)
    mask = masks.from_annotation(value, image.height, image.width, file=record.file, field=record.place(key))
    if not may_be_empty and masks.area(mask) == 0:
        problem = "expected a mask with at least one pixel, got an empty one; drop or redo the annotation"
        raise record.error(key, problem)
    return mask


def _pairs(record: Record) -> tuple[tuple[int, int], ...]:
    pairs = record.optional("depth_constraint", list) or []
    for pair in pairs:
        if type(pair) is not list or [type(one) for one in pair] != [int, int]:
            raise record.error("depth_constraint", "expected pairs of annotation ids, [in front, behind]")
    return tuple((front, behind) for front, behind in pairs)


def _numbers(record: Record, key: str) -> dict[str, float] | None:
    numbers = record.optional(key, dict)
    if numbers is not None and not all(map(is_number, numbers.values())):
        raise record.error(key, "expected an object of finite numbers")
    return numbers
